#include "tiny_decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <random>

#include "base/aligned_buffer.h"
#include "format/pte/llm_method.h"
#include "runtime/test_program.h"
#include "tensor/float16.h"
#include "tensor/packing.h"

namespace cria {
namespace {

// Writes a plan op by op, each buffer in memory of its own.
class PlanWriter {
 public:
  PlanWriter(const DecoderShape& shape, MethodKind kind) : shape_(shape) {
    plan_.max_tokens = kind == MethodKind::kDecode ? 1 : kMaxTokens;
    plan_.n_vocab = shape.n_vocab;
    plan_.kv = {2, shape.n_kv_heads, shape.head_dim, shape.kv_type, shape.kv_type};
    norm_ = add_vector("norm", shape.hidden);
    frequencies_ = add_vector("frequencies", shape.head_dim / 2);
  }

  Plan write(bool all_rows) {
    const std::uint32_t table = add_matrix("embed", shape_.n_vocab, shape_.hidden);
    std::uint32_t h = add_buffer(shape_.hidden);
    add({.kind = PlanOpKind::kEmbed, .out = h, .weights = {table}});
    attention_block(h, 0);
    fused_ffn(h);
    attention_block(h, 1);
    h = plain_ffn(h);
    if (!all_rows) {
      const std::uint32_t last = add_buffer(shape_.hidden, true);
      add({.kind = PlanOpKind::kLastRow, .x = h, .out = last});
      h = last;
    }
    const std::uint32_t normed = norm(h, !all_rows);
    const std::uint32_t logits = add_buffer(shape_.n_vocab, !all_rows);
    const std::uint32_t head = add_matrix("head", shape_.n_vocab, shape_.hidden);
    add({.kind = PlanOpKind::kLinear, .x = normed, .out = logits, .weights = {head}});
    add({.kind = PlanOpKind::kOutput, .x = logits});
    return plan_;
  }

 private:
  std::uint32_t add_buffer(std::int64_t width, bool single_row = false) {
    const std::int64_t n_rows = single_row ? 1 : plan_.max_tokens;
    plan_.buffers.push_back(
        {fmt::format("b{}", plan_.buffers.size()), width, single_row, plan_.scratch_bytes});
    plan_.scratch_bytes += align_up(static_cast<std::uint64_t>(n_rows * width) * 4, 64);
    return static_cast<std::uint32_t>(plan_.buffers.size() - 1);
  }
  std::uint32_t add_vector(const std::string& key, std::int64_t n) {
    plan_.weights.push_back({key, Encoding::kF32, false, 1, n});
    return static_cast<std::uint32_t>(plan_.weights.size() - 1);
  }
  std::uint32_t add_matrix(const std::string& name, std::int64_t n_rows, std::int64_t n_cols) {
    const int encoding = (shape_.first_encoding + n_matrices_++) % kEncodingCount;
    plan_.weights.push_back({name + std::to_string(n_matrices_), static_cast<Encoding>(encoding),
                             true, n_rows, n_cols});
    return static_cast<std::uint32_t>(plan_.weights.size() - 1);
  }
  void add(PlanOp op) { plan_.ops.push_back(std::move(op)); }

  std::uint32_t norm(std::uint32_t x, bool single_row = false) {
    const std::uint32_t out = add_buffer(shape_.hidden, single_row);
    add({.kind = PlanOpKind::kRmsNorm, .x = x, .out = out, .weights = {norm_}, .epsilon = 1e-5f});
    return out;
  }

  void attention_block(std::uint32_t h, std::int32_t layer) {
    const std::int64_t q = std::int64_t{shape_.n_heads} * shape_.head_dim;
    const std::int64_t kv = std::int64_t{shape_.n_kv_heads} * shape_.head_dim;
    const std::uint32_t qkv = add_buffer(q + 2 * kv);
    const std::vector<std::uint32_t> weights = {add_matrix("q", q, shape_.hidden),
                                                add_matrix("k", kv, shape_.hidden),
                                                add_matrix("v", kv, shape_.hidden)};
    add({.kind = PlanOpKind::kLinear, .x = norm(h), .out = qkv, .weights = weights});
    add({.kind = PlanOpKind::kRope,
         .out = qkv,
         .weights = {frequencies_},
         .n_heads = shape_.n_heads + shape_.n_kv_heads});
    add({.kind = PlanOpKind::kKvAppend, .x = qkv, .layer = layer, .column = q, .column_v = q + kv});
    const std::uint32_t mixed = add_buffer(q);
    add({.kind = PlanOpKind::kAttention,
         .x = qkv,
         .out = mixed,
         .scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim)),
         .layer = layer,
         .n_heads = shape_.n_heads});
    add({.kind = PlanOpKind::kLinear,
         .x = mixed,
         .out = h,
         .weights = {add_matrix("o", shape_.hidden, q)},
         .accumulate = true});
  }

  void fused_ffn(std::uint32_t h) {
    const std::uint32_t gate_up = add_buffer(2 * shape_.ffn), act = add_buffer(shape_.ffn);
    const std::vector<std::uint32_t> weights = {add_matrix("gate", shape_.ffn, shape_.hidden),
                                                add_matrix("up", shape_.ffn, shape_.hidden)};
    add({.kind = PlanOpKind::kLinear, .x = norm(h), .out = gate_up, .weights = weights});
    add({.kind = PlanOpKind::kSwiGlu, .x = gate_up, .out = act});
    add({.kind = PlanOpKind::kLinear,
         .x = act,
         .out = h,
         .weights = {add_matrix("down", shape_.hidden, shape_.ffn)},
         .accumulate = true});
  }

  // The same in the ops that fusion leaves out.
  std::uint32_t plain_ffn(std::uint32_t h) {
    const std::uint32_t gate = add_buffer(shape_.ffn), up = add_buffer(shape_.ffn);
    const std::uint32_t active = add_buffer(shape_.ffn), product = add_buffer(shape_.ffn);
    const std::uint32_t rotated = add_buffer(shape_.ffn), down = add_buffer(shape_.hidden);
    const std::uint32_t sum = add_buffer(shape_.hidden);
    const std::uint32_t x = norm(h);
    using enum PlanOpKind;
    add({.kind = kLinear,
         .x = x,
         .out = gate,
         .weights = {add_matrix("g", shape_.ffn, shape_.hidden)}});
    add({.kind = kLinear,
         .x = x,
         .out = up,
         .weights = {add_matrix("u", shape_.ffn, shape_.hidden)}});
    add({.kind = kSilu, .x = gate, .out = active});
    add({.kind = kMul, .x = active, .y = up, .out = product});
    add({.kind = kHadamard,
         .x = product,
         .out = rotated,
         .weights = {add_vector("signs", shape_.ffn)},
         .block = shape_.ffn & -shape_.ffn});
    add({.kind = kLinear,
         .x = rotated,
         .out = down,
         .weights = {add_matrix("d", shape_.hidden, shape_.ffn)}});
    add({.kind = kAdd, .x = h, .y = down, .out = sum});
    return sum;
  }

  DecoderShape shape_;
  Plan plan_;
  int n_matrices_ = 0;
  std::uint32_t norm_ = 0, frequencies_ = 0;
};

double root_mean_square(const std::vector<float>& values) {
  double sum = 0;
  for (float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// Multiplies all scales by `factor`, as far as their formats can.
void scale_row(RowCodes& row, double factor) {
  for (auto* halves : {&row.scales_f16, &row.mins_f16, &row.super_scales, &row.super_mins}) {
    for (std::uint16_t& half : *halves) {
      half = f32_to_f16(static_cast<float>(f16_to_f32(half) * factor));
    }
  }
  if (encoding_spec(row.encoding).scale != ScaleKind::kE8M0) return;
  for (std::uint8_t& exponent : row.scales_8) {
    exponent = static_cast<std::uint8_t>(exponent + std::lround(std::log2(factor)));
  }
}

RowCodes random_row(Encoding encoding, std::int64_t n_cols, std::mt19937& random) {
  const EncodingSpec spec = encoding_spec(encoding);
  RowCodes row(encoding, n_cols);
  for (std::uint8_t& code : row.codes) code = random() & ((1u << spec.bits) - 1);
  const auto random_half = [&random] {
    return f32_to_f16(0.5f + static_cast<float>(random() % 1000) / 1000);
  };
  for (std::uint16_t& scale : row.scales_f16) scale = random_half();
  // About minus the mean of an unsigned code times its scale, as real blocks have it.
  for (std::uint16_t& min : row.mins_f16) {
    min = f32_to_f16(-f16_to_f32(random_half()) * static_cast<float>(1 << (spec.bits - 1)));
  }
  for (std::uint16_t& scale : row.super_scales) scale = random_half();
  for (std::uint16_t& min : row.super_mins) {
    min = f32_to_f16(f16_to_f32(random_half()) * static_cast<float>(1 << (spec.bits - 1)));
  }
  const bool exponents = spec.scale == ScaleKind::kE8M0;
  for (std::uint8_t& scale : row.scales_8) {
    scale = exponents ? 126 + random() % 4 : 1 + random() % 31;
  }
  for (std::uint8_t& min : row.mins_8) min = 1 + random() % 31;
  std::vector<float> values(static_cast<std::size_t>(n_cols));
  decode_codes(row, values);
  scale_row(row, 1 / std::sqrt(static_cast<double>(n_cols)) / root_mean_square(values));
  return row;
}

std::vector<std::byte> random_matrix(const PlanWeight& weight, std::mt19937& random) {
  std::vector<std::byte> bytes(
      packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols).value());
  const std::size_t panel_bytes = panel_layout(weight.encoding, weight.n_cols).size_bytes;
  std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(weight.n_cols)));
  for (std::int64_t first = 0; first < weight.n_rows; first += kPanelRows) {
    const std::int64_t n = std::min<std::int64_t>(kPanelRows, weight.n_rows - first);
    const std::span panel(bytes.data() + static_cast<std::size_t>(first / kPanelRows) * panel_bytes,
                          panel_bytes);
    if (encoding_spec(weight.encoding).dense()) {
      std::vector<float> rows(static_cast<std::size_t>(n * weight.n_cols));
      std::ranges::generate(rows, [&] { return normal(random); });
      pack_dense_panel(weight.encoding, rows, weight.n_cols, panel);
    } else {
      std::vector<RowCodes> rows;
      for (std::int64_t r = 0; r < n; ++r) {
        rows.push_back(random_row(weight.encoding, weight.n_cols, random));
      }
      pack_panel(rows, panel);
    }
  }
  return bytes;
}

std::vector<std::byte> as_bytes(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

Plan decoder_plan(const DecoderShape& shape, MethodKind kind) {
  return PlanWriter(shape, kind).write(kind == MethodKind::kVerify);
}

WeightBytes random_weights(const Plan& plan, unsigned seed) {
  std::mt19937 random(seed);
  WeightBytes weights;
  for (const PlanWeight& weight : plan.weights) {
    if (weight.packed) {
      weights[weight.key] = random_matrix(weight, random);
      continue;
    }
    std::vector<float> values(static_cast<std::size_t>(weight.n_cols));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(values.size());
      values[i] = weight.key == "frequencies" ? static_cast<float>(std::pow(10000.0, -share))
                                              : 0.5f + static_cast<float>(random() % 1000) / 1000;
    }
    weights[weight.key] = as_bytes(values);
  }
  return weights;
}

pte::ProgramSpec decoder_spec(const DecoderShape& shape, const std::string& delegate) {
  pte::ProgramSpec spec;
  const std::pair<const char*, MethodKind> methods[] = {{"prefill", MethodKind::kPrefill},
                                                        {"decode", MethodKind::kDecode},
                                                        {"verify", MethodKind::kVerify}};
  for (const auto& [name, kind] : methods) {
    const Plan plan = decoder_plan(shape, kind);
    pte::MethodSpec method;
    method.name = name;
    method.delegate_id = delegate;
    method.blob = encode_plan(plan);
    method.arguments = *pte::llm_arguments({.max_tokens = plan.max_tokens,
                                            .n_positions = kContext,
                                            .bytes_per_position = plan.kv.bytes_per_position(),
                                            .scratch_bytes = plan.scratch_bytes,
                                            .n_vocab = plan.n_vocab,
                                            .all_rows = kind == MethodKind::kVerify});
    spec.methods.push_back(std::move(method));
  }
  spec.constants = {{"get_vocab_size", {shape.n_vocab}},
                    {"get_max_context_len", {kContext}},
                    {"get_kv_granularity", {kv_granularity(shape.kv_type)}},
                    {"get_bos_id", {std::int64_t{1}}},
                    {"get_eos_ids", {std::int64_t{2}, std::int64_t{3}}}};
  return spec;
}

Status write_decoder(const std::string& path, const DecoderShape& shape, const WeightBytes& weights,
                     const std::string& delegate) {
  return write_program(path, decoder_spec(shape, delegate), weights);
}

}  // namespace cria
