#include "model/config.h"

#include <cmath>
#include <numbers>

namespace cria {
namespace {

struct Limit {
  const char* field;
  std::int64_t LlamaConfig::*member;
  std::int64_t max;
};
// Several times the largest Llama, and small enough that no product of three leaves 63 bits.
constexpr Limit kLimits[] = {
    {"n_layers", &LlamaConfig::n_layers, 1 << 10},
    {"hidden", &LlamaConfig::hidden, 1 << 17},
    {"ffn", &LlamaConfig::ffn, 1 << 19},
    {"n_heads", &LlamaConfig::n_heads, 1 << 12},
    {"n_kv_heads", &LlamaConfig::n_kv_heads, 1 << 12},
    {"head_dim", &LlamaConfig::head_dim, 1 << 12},
    {"n_vocab", &LlamaConfig::n_vocab, 1 << 22},
    {"max_context", &LlamaConfig::max_context, 1 << 24},
};

double scaled_frequency(double frequency, const RopeScaling& s) {
  if (s.factor == 1.0) return frequency;
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength < s.original_context / s.high_frequency_factor) return frequency;
  if (wavelength > s.original_context / s.low_frequency_factor) return frequency / s.factor;
  const double kept = (s.original_context / wavelength - s.low_frequency_factor) /
                      (s.high_frequency_factor - s.low_frequency_factor);
  return (1.0 - kept) * frequency / s.factor + kept * frequency;
}

Status validate_frequencies(const LlamaConfig& config) {
  const auto& frequencies = config.rope_inverse_frequencies;
  if (static_cast<std::int64_t>(frequencies.size()) != config.head_dim / 2) {
    return bad_input("{} rotary frequencies, expected {}: one for each pair of a head",
                     frequencies.size(), config.head_dim / 2);
  }
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    if (!std::isfinite(frequencies[i]) || frequencies[i] <= 0.0F) {
      return bad_input("rotary frequency {} is {}, expected a positive number", i, frequencies[i]);
    }
  }
  return {};
}

}  // namespace

std::vector<float> rope_inverse_frequencies(std::int64_t head_dim, const RopeScaling& scaling) {
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < head_dim / 2; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(head_dim);
    const double frequency = std::pow(scaling.theta, exponent);
    frequencies.push_back(static_cast<float>(scaled_frequency(frequency, scaling)));
  }
  return frequencies;
}

Status validate_sizes(const LlamaConfig& config) {
  for (const Limit& limit : kLimits) {
    const std::int64_t value = config.*limit.member;
    if (value < 1 || value > limit.max) {
      return bad_input("{} is {}, expected 1 to {}", limit.field, value, limit.max);
    }
  }
  if (config.n_heads % config.n_kv_heads != 0) {
    return bad_input("n_kv_heads is {}, expected a divisor of n_heads ({})", config.n_kv_heads,
                     config.n_heads);
  }
  if (config.head_dim % 2 != 0) {
    return bad_input("head_dim is {}, expected an even number", config.head_dim);
  }
  // The negated form also refuses NaN.
  if (!(config.norm_epsilon > 0.0F && config.norm_epsilon < 1.0F)) {
    return bad_input("norm_epsilon is {}, expected a number between 0 and 1", config.norm_epsilon);
  }
  return {};
}

Status validate_config(const LlamaConfig& config) {
  CRIA_RETURN_IF_ERROR(validate_sizes(config));
  return validate_frequencies(config);
}

}  // namespace cria
