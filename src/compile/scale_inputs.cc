#include "compile/scale_inputs.h"

#include <algorithm>
#include <memory>

#include "quantize/awq.h"

namespace cria {
namespace {

using Kind = WeightEdit::Kind;

// Weights of a linear that a search rounds: its cost is that of their rows times the Hessian.
constexpr std::int64_t kSampleWeights = std::int64_t{1} << 20;

struct InputParts {
  ScaledInput input;
  std::vector<const char*> readers;
  const char* maker;  // a norm or a linear
};

const InputParts& parts_of(ScaledInput input) {
  static const InputParts kParts[] = {
      {ScaledInput::kAttention, {"attn_q", "attn_k", "attn_v"}, "attn_norm"},
      {ScaledInput::kMixed, {"attn_output"}, "attn_v"},
      {ScaledInput::kFeedForward, {"ffn_gate", "ffn_up"}, "ffn_norm"},
      {ScaledInput::kActive, {"ffn_down"}, "ffn_up"},
  };
  return kParts[static_cast<std::size_t>(input)];
}

// The row of attn_v that channel `column` of the mixed values comes from.
std::int32_t value_row(std::int64_t column, const LlamaConfig& config) {
  const std::int64_t head = column / config.head_dim;
  const std::int64_t kv_head = head / (config.n_heads / config.n_kv_heads);
  return static_cast<std::int32_t>(kv_head * config.head_dim + column % config.head_dim);
}

std::vector<std::int32_t> value_rows(const LlamaConfig& config) {
  std::vector<std::int32_t> rows;
  for (std::int64_t c = 0; c < config.n_heads * config.head_dim; ++c) {
    rows.push_back(value_row(c, config));
  }
  return rows;
}

std::shared_ptr<const std::vector<float>> inverses(const std::vector<float>& scales) {
  auto inverse = std::make_shared<std::vector<float>>();
  for (const float s : scales) inverse->push_back(1.0f / s);
  return inverse;
}

// One scale a row of attn_v: any of the columns it feeds has it.
std::vector<float> of_value_rows(const std::vector<float>& scales, const LlamaConfig& config) {
  std::vector<float> of_rows(static_cast<std::size_t>(config.n_kv_heads * config.head_dim));
  for (std::size_t c = 0; c < scales.size(); ++c) {
    of_rows[value_row(static_cast<std::int64_t>(c), config)] = scales[c];
  }
  return of_rows;
}

// Some of a linear's rows, evenly spread.
Matrix sample_rows(const Matrix& rows) {
  const std::int64_t n =
      std::min(rows.n_rows, std::max<std::int64_t>(1, kSampleWeights / rows.n_cols));
  Matrix sample(n, rows.n_cols);
  for (std::int64_t r = 0; r < n; ++r) {
    const std::span<const float> from = rows.row(r * rows.n_rows / n);
    std::copy(from.begin(), from.end(), sample.row(r).begin());
  }
  return sample;
}

class InputScaling {
 public:
  InputScaling(const Checkpoint& checkpoint, const ScalingRequest& request, EditedModel& model)
      : checkpoint_(checkpoint), request_(request), model_(model) {}

  Status run() {
    const std::int64_t n_layers = model_.config().n_layers;
    for (std::int64_t layer = 0; layer < n_layers; ++layer) {
      CRIA_RETURN_IF_ERROR(scale(layer, ScaledInput::kAttention));
      CRIA_RETURN_IF_ERROR(scale(layer, ScaledInput::kMixed));
      CRIA_RETURN_IF_ERROR(scale(layer, ScaledInput::kFeedForward));
      if (!request_.ffn_input_is_rotated) CRIA_RETURN_IF_ERROR(scale(layer, ScaledInput::kActive));
      if (request_.progress) CRIA_RETURN_IF_ERROR(request_.progress(layer + 1, n_layers));
    }
    return Status();
  }

 private:
  Status scale(std::int64_t layer, ScaledInput which) {
    std::vector<Matrix> samples;
    std::vector<AwqLinear> linears;
    const StoredWeight* any = nullptr;
    for (const char* reader : parts_of(which).readers) {
      CRIA_ASSIGN_OR_RETURN(const StoredWeight* stored,
                            checkpoint_.weight(layer_weight(layer, reader)));
      const WeightRounding rounding = request_.rounding_of(*stored);
      if (!can_quantize(rounding.encoding)) continue;  // floats: nothing to gain
      CRIA_ASSIGN_OR_RETURN(const Matrix rows, model_.rows(*stored, 0, stored->n_rows));
      samples.push_back(sample_rows(rows));
      linears.push_back({nullptr, rounding.encoding,
                         rounding.importance || rounding.method == RoundingMethod::kGptq});
      any = stored;
    }
    if (any == nullptr) return Status();
    for (std::size_t i = 0; i < linears.size(); ++i) linears[i].rows = &samples[i];
    CRIA_ASSIGN_OR_RETURN(AwqScales found, search(which, *any, linears));
    return scale_input(layer, which, std::move(found.scales), model_);
  }

  Result<AwqScales> search(ScaledInput which, const StoredWeight& reader,
                           std::span<const AwqLinear> linears) const {
    CRIA_ASSIGN_OR_RETURN(InputStatistics statistics, model_.input_of(reader));
    Matrix hessian;
    if (statistics.has_hessian) {
      CRIA_ASSIGN_OR_RETURN(hessian, model_.hessian_of(reader));
      // Where a rotation mixed the channels, the mean squares alone are a guess.
      for (std::int64_t c = 0; c < hessian.n_cols; ++c) {
        statistics.mean_square[c] = std::max(0.0f, hessian.row(c)[c]);
      }
    }
    std::vector<std::int32_t> shared;
    if (which == ScaledInput::kMixed) shared = value_rows(model_.config());
    const AwqInput input{statistics.mean_square, statistics.has_hessian ? &hessian : nullptr,
                         shared};
    Result<AwqScales> found = search_awq_scales(linears, input, model_.pool());
    if (!found.ok()) return std::move(found).status().with_context(reader.file_name);
    return found;
  }

  const Checkpoint& checkpoint_;
  const ScalingRequest& request_;
  EditedModel& model_;
};

}  // namespace

Status scale_input(std::int64_t layer, ScaledInput input, std::vector<float> scales,
                   EditedModel& model) {
  const InputParts& parts = parts_of(input);
  const std::string maker = layer_weight(layer, parts.maker);
  if (input == ScaledInput::kAttention || input == ScaledInput::kFeedForward) {
    CRIA_ASSIGN_OR_RETURN(std::vector<float> gains, model.vector(maker));
    if (gains.size() != scales.size()) {
      return bad_input("{}: {} elements, expected {}", maker, gains.size(), scales.size());
    }
    for (std::size_t c = 0; c < gains.size(); ++c) gains[c] /= scales[c];
    model.set_vector(maker, std::move(gains));
  } else {
    const bool mixed = input == ScaledInput::kMixed;
    model.edit(maker, {Kind::kScaleRows,
                       inverses(mixed ? of_value_rows(scales, model.config()) : scales), 0});
  }
  const auto factors = std::make_shared<const std::vector<float>>(std::move(scales));
  for (const char* reader : parts.readers) {
    model.edit(layer_weight(layer, reader), {Kind::kScaleColumns, factors, 0});
  }
  return Status();
}

Status scale_inputs(const Checkpoint& checkpoint, const ScalingRequest& request,
                    EditedModel& model) {
  return InputScaling(checkpoint, request, model).run();
}

}  // namespace cria
