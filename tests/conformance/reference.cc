#include "reference.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include "tensor/float16.h"
#include "tensor/packing.h"

namespace cria {
namespace {

std::vector<std::vector<double>> decode(const PlanWeight& weight,
                                        const std::vector<std::byte>& bytes) {
  std::vector<std::vector<double>> rows;
  std::vector<float> row(static_cast<std::size_t>(weight.n_cols));
  for (std::int64_t r = 0; r < weight.n_rows; ++r) {
    if (weight.packed) {
      decode_packed_row(weight.encoding, bytes, weight.n_cols, r, row);
    } else {
      std::memcpy(row.data(), bytes.data(), row.size() * sizeof(float));
    }
    rows.emplace_back(row.begin(), row.end());
  }
  return rows;
}

double as_half(double value) { return f16_to_f32(f32_to_f16(static_cast<float>(value))); }
double silu(double x) { return x / (1 + std::exp(-x)); }

}  // namespace

ReferenceModel::ReferenceModel(const Plan& plan, const WeightBytes& weights,
                               bool quantize_activations)
    : plan_(plan), quantize_activations_(quantize_activations), buffers_(plan.buffers.size()) {
  for (const PlanWeight& weight : plan.weights) {
    weights_.push_back(decode(weight, weights.at(weight.key)));
  }
  reset();
}

void ReferenceModel::reset() {
  keys_.assign(static_cast<std::size_t>(plan_.kv.n_layers), {});
  values_ = keys_;
  position_ = 0;
}

std::vector<double> ReferenceModel::run(std::span<const std::int64_t> tokens) {
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const PlanBuffer& buffer = plan_.buffers[i];
    const std::size_t n_rows = buffer.single_row ? 1 : tokens.size();
    buffers_[i].assign(n_rows, std::vector<double>(static_cast<std::size_t>(buffer.width)));
  }
  for (const PlanOp& op : plan_.ops) run_op(op, tokens);
  position_ += static_cast<std::int64_t>(tokens.size());
  std::vector<double> logits;
  for (const auto& row : rows(plan_.ops.back().x)) {
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

void ReferenceModel::run_op(const PlanOp& op, std::span<const std::int64_t> tokens) {
  switch (op.kind) {
    case PlanOpKind::kEmbed:
      return embed(op, tokens);
    case PlanOpKind::kRmsNorm:
      return rms_norm(op);
    case PlanOpKind::kLinear:
      return linear(op);
    case PlanOpKind::kRope:
      return rope(op);
    case PlanOpKind::kKvAppend:
      return kv_append(op);
    case PlanOpKind::kAttention:
      return attention(op);
    case PlanOpKind::kSwiGlu:
    case PlanOpKind::kAdd:
    case PlanOpKind::kMul:
    case PlanOpKind::kSilu:
      return elementwise(op);
    case PlanOpKind::kHadamard:
      return hadamard(op);
    case PlanOpKind::kScores:
    case PlanOpKind::kSoftmax:
    case PlanOpKind::kMix:
      assert(false && "thirds of attention are held against the whole of it, bit for bit");
      return;
    case PlanOpKind::kLastRow:
      rows(op.out)[0] = rows(op.x).back();
      return;
    case PlanOpKind::kOutput:
      return;
  }
}

void ReferenceModel::embed(const PlanOp& op, std::span<const std::int64_t> tokens) {
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    rows(op.out)[t] = weights_[op.weights[0]][static_cast<std::size_t>(tokens[t])];
  }
}

void ReferenceModel::rms_norm(const PlanOp& op) {
  const std::vector<double>& weight = weights_[op.weights[0]][0];
  for (std::size_t t = 0; t < rows(op.x).size(); ++t) {
    const std::vector<double>& x = rows(op.x)[t];
    double sum = 0;
    for (double value : x) sum += value * value;
    const double factor = 1 / std::sqrt(sum / static_cast<double>(x.size()) + op.epsilon);
    for (std::size_t i = 0; i < x.size(); ++i) rows(op.out)[t][i] = x[i] * factor * weight[i];
  }
}

// Each 32 values share a scale, the largest magnitude / 127 rounded up to four significant bits,
// and round to whole multiples of it.
std::vector<double> ReferenceModel::quantized(const std::vector<double>& row) const {
  std::vector<double> result(row.size());
  for (std::size_t start = 0; start < row.size(); start += 32) {
    const std::size_t end = std::min(start + 32, row.size());
    double largest = 0;
    for (std::size_t i = start; i < end; ++i) largest = std::max(largest, std::abs(row[i]));
    int exponent;
    const double mantissa = std::frexp(largest / 127, &exponent);
    const double scale = std::ldexp(std::ceil(mantissa * 16) / 16, exponent);
    for (std::size_t i = start; i < end && scale > 0; ++i) {
      result[i] = scale * std::nearbyint(row[i] / scale);
    }
  }
  return result;
}

void ReferenceModel::linear(const PlanOp& op) {
  for (std::size_t t = 0; t < rows(op.x).size(); ++t) {
    const std::vector<double>& x = rows(op.x)[t];
    const std::vector<double> x8 = quantize_activations_ ? quantized(x) : x;
    std::vector<double>& out = rows(op.out)[t];
    auto column = static_cast<std::size_t>(op.column);
    for (std::uint32_t index : op.weights) {
      const bool dense = encoding_spec(plan_.weights[index].encoding).dense();
      const std::vector<double>& in = dense ? x : x8;
      for (const std::vector<double>& row : weights_[index]) {
        double sum = op.accumulate ? out[column] : 0;
        for (std::size_t k = 0; k < in.size(); ++k) sum += in[k] * row[k];
        out[column++] = sum;
      }
    }
  }
}

void ReferenceModel::rope(const PlanOp& op) {
  const auto half = static_cast<std::size_t>(plan_.kv.head_dim / 2);
  for (std::size_t t = 0; t < rows(op.out).size(); ++t) {
    for (int head = 0; head < op.n_heads; ++head) {
      double* x = rows(op.out)[t].data() + op.column + head * plan_.kv.head_dim;
      for (std::size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position_ + static_cast<std::int64_t>(t)) *
                             weights_[op.weights[0]][0][i];
        const double a = x[i], b = x[i + half];
        x[i] = a * std::cos(angle) - b * std::sin(angle);
        x[i + half] = a * std::sin(angle) + b * std::cos(angle);
      }
    }
  }
}

void ReferenceModel::kv_append(const PlanOp& op) {
  const std::int64_t width = std::int64_t{plan_.kv.n_kv_heads} * plan_.kv.head_dim;
  const auto layer = static_cast<std::size_t>(op.layer);
  for (const std::vector<double>& x : rows(op.x)) {
    std::vector<double> key(x.begin() + op.column, x.begin() + op.column + width);
    std::vector<double> value(x.begin() + op.column_v, x.begin() + op.column_v + width);
    std::ranges::transform(key, key.begin(), as_half);
    std::ranges::transform(value, value.begin(), as_half);
    keys_[layer].push_back(key);
    values_[layer].push_back(value);
  }
}

void ReferenceModel::attention(const PlanOp& op) {
  const int head_dim = plan_.kv.head_dim;
  const int group = op.n_heads / plan_.kv.n_kv_heads;
  const Rows& keys = keys_[static_cast<std::size_t>(op.layer)];
  const Rows& values = values_[static_cast<std::size_t>(op.layer)];
  for (std::size_t t = 0; t < rows(op.x).size(); ++t) {
    const auto n_seen = static_cast<std::size_t>(position_) + t + 1;
    for (int head = 0; head < op.n_heads; ++head) {
      const double* q = rows(op.x)[t].data() + op.column + head * head_dim;
      const int first = head / group * head_dim;  // column of the head in the cache
      std::vector<double> score(n_seen);
      for (std::size_t p = 0; p < n_seen; ++p) {
        for (int i = 0; i < head_dim; ++i) score[p] += q[i] * keys[p][first + i] * op.scale;
      }
      const double largest = *std::ranges::max_element(score);
      double total = 0;
      for (double& s : score) total += s = std::exp(s - largest);
      double* out = rows(op.out)[t].data() + head * head_dim;
      for (int i = 0; i < head_dim; ++i) {
        double sum = 0;
        for (std::size_t p = 0; p < n_seen; ++p) sum += score[p] / total * values[p][first + i];
        out[i] = sum;
      }
    }
  }
}

// Entry (i, j) of the matrix of a block is -1 to the number of ones that i and j share.
void ReferenceModel::hadamard(const PlanOp& op) {
  const std::vector<double>& signs = weights_[op.weights[0]][0];
  const auto block = static_cast<std::size_t>(op.block);
  for (std::size_t t = 0; t < rows(op.x).size(); ++t) {
    const std::vector<double>& x = rows(op.x)[t];
    for (std::size_t i = 0; i < x.size(); ++i) {
      double sum = 0;
      for (std::size_t j = i / block * block; j < (i / block + 1) * block; ++j) {
        const double term = op.inverse ? x[j] : x[j] * signs[j];
        sum += std::popcount((i % block) & (j % block)) % 2 == 0 ? term : -term;
      }
      rows(op.out)[t][i] =
          sum / std::sqrt(static_cast<double>(block)) * (op.inverse ? signs[i] : 1);
    }
  }
}

void ReferenceModel::elementwise(const PlanOp& op) {
  for (std::size_t t = 0; t < rows(op.x).size(); ++t) {
    const std::vector<double>& x = rows(op.x)[t];
    std::vector<double>& out = rows(op.out)[t];
    for (std::size_t i = 0; i < out.size(); ++i) {
      switch (op.kind) {
        case PlanOpKind::kSwiGlu:
          out[i] = silu(x[i]) * x[out.size() + i];
          break;
        case PlanOpKind::kAdd:
          out[i] = x[i] + rows(op.y)[t][i];
          break;
        case PlanOpKind::kMul:
          out[i] = x[i] * rows(op.y)[t][i];
          break;
        default:
          out[i] = silu(x[i]);
      }
    }
  }
}

}  // namespace cria
