#include "ir/evaluate_for_test.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

namespace cria::ir {

Matrix random_weight(const Weight& weight, std::uint32_t seed) {
  for (const char c : weight.name) seed = seed * 31 + static_cast<unsigned char>(c);
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0.0, 1.0);
  Matrix matrix(weight.n_rows, weight.n_cols);
  const double factor = weight.n_rows == 1 ? 0.2 : 1.0 / std::sqrt(double(weight.n_cols));
  for (double& element : matrix.elements) {
    element = (weight.n_rows == 1 ? 1.0 : 0.0) + factor * normal(random);
  }
  return matrix;
}

WeightTable random_weights(const Graph& graph, std::uint32_t seed) {
  WeightTable table;
  for (const Weight& weight : graph.weights) table[weight.name] = random_weight(weight, seed);
  return table;
}

Matrix rms_normalize(const Matrix& x, double epsilon) {
  Matrix out = x;
  for (std::int64_t row = 0; row < x.n_rows; ++row) {
    double sum = 0;
    for (std::int64_t col = 0; col < x.n_cols; ++col) sum += x.at(row, col) * x.at(row, col);
    const double factor = 1.0 / std::sqrt(sum / double(x.n_cols) + epsilon);
    for (std::int64_t col = 0; col < x.n_cols; ++col) out.at(row, col) *= factor;
  }
  return out;
}

Matrix multiply(const Matrix& x, const Matrix& weight) {
  Matrix out(x.n_rows, weight.n_rows);
  for (std::int64_t row = 0; row < x.n_rows; ++row) {
    for (std::int64_t o = 0; o < weight.n_rows; ++o) {
      double sum = 0;
      for (std::int64_t k = 0; k < x.n_cols; ++k) sum += x.at(row, k) * weight.at(o, k);
      out.at(row, o) = sum;
    }
  }
  return out;
}

void rotate_heads(Matrix& x, std::int64_t column, std::int64_t n_heads, const Matrix& frequencies,
                  std::int64_t position) {
  const std::int64_t half = frequencies.n_cols;
  for (std::int64_t row = 0; row < x.n_rows; ++row) {
    for (std::int64_t head = 0; head < n_heads; ++head) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = double(position + row) * frequencies.at(0, i);
        double& a = x.at(row, column + head * 2 * half + i);
        double& b = x.at(row, column + head * 2 * half + half + i);
        const double a0 = a, b0 = b;
        a = a0 * std::cos(angle) - b0 * std::sin(angle);
        b = a0 * std::sin(angle) + b0 * std::cos(angle);
      }
    }
  }
}

void append_rows(LayerCache& cache, const Matrix& k, const Matrix& v, std::int64_t position) {
  cache.k.resize(position + k.n_rows);
  cache.v.resize(position + k.n_rows);
  for (std::int64_t row = 0; row < k.n_rows; ++row) {
    for (std::int64_t col = 0; col < k.n_cols; ++col) {
      cache.k[position + row].push_back(k.at(row, col));
      cache.v[position + row].push_back(v.at(row, col));
    }
  }
}

Matrix attend(const Matrix& q, const LayerCache& cache, const AttentionShape& shape,
              std::int64_t position) {
  Matrix out(q.n_rows, q.n_cols);
  for (std::int64_t row = 0; row < q.n_rows; ++row) {
    for (std::int64_t head = 0; head < shape.n_heads; ++head) {
      const std::int64_t q_column = head * shape.head_dim;
      const std::int64_t kv_column = head / (shape.n_heads / shape.n_kv_heads) * shape.head_dim;
      std::vector<double> weights;
      double largest = -1e300, sum = 0;
      for (std::int64_t p = 0; p <= position + row; ++p) {
        double score = 0;
        for (std::int64_t i = 0; i < shape.head_dim; ++i) {
          score += q.at(row, q_column + i) * cache.k[p][kv_column + i];
        }
        weights.push_back(score * shape.scale);
        largest = std::max(largest, weights.back());
      }
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      for (std::int64_t p = 0; p <= position + row; ++p) {
        for (std::int64_t i = 0; i < shape.head_dim; ++i) {
          out.at(row, q_column + i) += weights[p] / sum * cache.v[p][kv_column + i];
        }
      }
    }
  }
  return out;
}

double silu(double x) { return x / (1.0 + std::exp(-x)); }

Matrix hadamard(Matrix x, const Matrix& signs, std::int64_t block, bool inverse) {
  const Matrix before = x;
  for (std::int64_t row = 0; row < x.n_rows; ++row) {
    for (std::int64_t i = 0; i < x.n_cols; ++i) {
      const std::int64_t first = i / block * block;
      double sum = 0;
      for (std::int64_t j = 0; j < block; ++j) {
        const int shared = std::popcount(static_cast<std::uint64_t>(j & (i - first)));
        const double term = before.at(row, first + j) * (inverse ? 1 : signs.at(0, first + j));
        sum += shared % 2 == 0 ? term : -term;
      }
      x.at(row, i) = sum / std::sqrt(double(block)) * (inverse ? signs.at(0, i) : 1);
    }
  }
  return x;
}

Matrix columns(const Matrix& x, std::int64_t column, std::int64_t width) {
  Matrix out(x.n_rows, width);
  for (std::int64_t row = 0; row < x.n_rows; ++row) {
    for (std::int64_t i = 0; i < width; ++i) out.at(row, i) = x.at(row, column + i);
  }
  return out;
}

namespace {

class Evaluator {
 public:
  Evaluator(const Graph& graph, const WeightTable& weights, CacheTable& cache,
            const std::vector<std::int64_t>& tokens, std::int64_t position)
      : graph_(graph),
        weights_(weights),
        cache_(cache),
        tokens_(tokens),
        position_(position),
        values_(graph.values.size()) {}

  Matrix run() {
    for (const Op& op : graph_.ops) {
      Matrix out = apply(op);
      if (op.kind == OpKind::kOutput) return in(op, 0);
      if (op.output) values_[*op.output] = std::move(out);
    }
    return {};
  }

 private:
  const Matrix& in(const Op& op, std::size_t i) const { return values_[op.inputs[i]]; }
  const Matrix& weight(const Op& op, std::size_t i) const {
    return weights_.at(graph_.weights[op.weights[i]].name);
  }

  Matrix apply(const Op& op) {
    const Attributes& a = op.attributes;
    switch (op.kind) {
      case OpKind::kEmbed:
        return embed(weight(op, 0));
      case OpKind::kRmsNormalize:
        return rms_normalize(in(op, 0), a.epsilon);
      case OpKind::kRmsNorm:
        return times(rms_normalize(in(op, 0), a.epsilon), weight(op, 0));
      case OpKind::kMul:
        return times(in(op, 0), op.weights.empty() ? in(op, 1) : weight(op, 0));
      case OpKind::kAdd:
        return plus(in(op, 0), in(op, 1));
      case OpKind::kLinear:
        return linear(op);
      case OpKind::kRope: {
        Matrix out = in(op, 0);
        rotate_heads(out, 0, a.n_heads, weight(op, 0), position_);
        return out;
      }
      case OpKind::kKvAppend:
        append_rows(cache_[a.layer], in(op, 0), in(op, 1), position_);
        return {};
      case OpKind::kAttention:
        return attend(in(op, 0), cache_[a.layer], {a.n_heads, a.n_kv_heads, a.head_dim, a.scale},
                      position_);
      case OpKind::kSilu: {
        Matrix out = in(op, 0);
        for (double& element : out.elements) element = silu(element);
        return out;
      }
      case OpKind::kSlice:
        return columns(in(op, 0), a.column, a.width);
      case OpKind::kLastRow:
        return last_row(in(op, 0));
      case OpKind::kHadamard:
        return hadamard(in(op, 0), weight(op, 0), a.block, a.inverse != 0);
      case OpKind::kSwiGlu:
        return swiglu(in(op, 0));
      case OpKind::kOutput:
        return {};
    }
    return {};
  }

  Matrix embed(const Matrix& table) const {
    Matrix out(static_cast<std::int64_t>(tokens_.size()), table.n_cols);
    for (std::int64_t row = 0; row < out.n_rows; ++row) {
      for (std::int64_t i = 0; i < table.n_cols; ++i) out.at(row, i) = table.at(tokens_[row], i);
    }
    return out;
  }

  // `y` of the same shape, or one row for all rows of x.
  static Matrix times(Matrix x, const Matrix& y) {
    for (std::int64_t row = 0; row < x.n_rows; ++row) {
      for (std::int64_t i = 0; i < x.n_cols; ++i) {
        x.at(row, i) *= y.at(y.n_rows == 1 ? 0 : row, i);
      }
    }
    return x;
  }

  static Matrix plus(Matrix x, const Matrix& y) {
    for (std::size_t i = 0; i < x.elements.size(); ++i) x.elements[i] += y.elements[i];
    return x;
  }

  Matrix linear(const Op& op) const {
    Matrix out(in(op, 0).n_rows, graph_.width(*op.output));
    std::int64_t column = 0;
    for (std::size_t i = 0; i < op.weights.size(); ++i) {
      const Matrix part = multiply(in(op, 0), weight(op, i));
      for (std::int64_t row = 0; row < out.n_rows; ++row) {
        for (std::int64_t o = 0; o < part.n_cols; ++o) out.at(row, column + o) = part.at(row, o);
      }
      column += part.n_cols;
    }
    return op.inputs.size() == 2 ? plus(std::move(out), in(op, 1)) : out;
  }

  static Matrix last_row(const Matrix& x) {
    Matrix out(1, x.n_cols);
    for (std::int64_t i = 0; i < x.n_cols; ++i) out.at(0, i) = x.at(x.n_rows - 1, i);
    return out;
  }

  static Matrix swiglu(const Matrix& x) {
    Matrix out = columns(x, 0, x.n_cols / 2);
    for (double& element : out.elements) element = silu(element);
    return times(std::move(out), columns(x, x.n_cols / 2, x.n_cols / 2));
  }

  const Graph& graph_;
  const WeightTable& weights_;
  CacheTable& cache_;
  const std::vector<std::int64_t>& tokens_;
  std::int64_t position_;
  std::vector<Matrix> values_;
};

}  // namespace

Matrix evaluate(const Graph& graph, const WeightTable& weights, CacheTable& cache,
                const std::vector<std::int64_t>& tokens, std::int64_t position) {
  return Evaluator(graph, weights, cache, tokens, position).run();
}

}  // namespace cria::ir
