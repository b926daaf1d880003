#include "quantize/e8p_rounding.h"

#include <algorithm>
#include <cmath>

#include "tensor/e8p.h"
#include "tensor/float16.h"

namespace cria {
namespace {

constexpr float kFactors[] = {0.85f, 1.0f, 1.2f};
constexpr std::int64_t kSampledOctets = 32;  // of a block, to choose among factors

// Columns [first, first + width) of a block, zeros behind them.
void load_octet(std::span<const float> block, std::int64_t first, float inverse_scale, float* x) {
  const std::int64_t width =
      std::min<std::int64_t>(kE8Width, static_cast<std::int64_t>(block.size()) - first);
  for (std::int64_t i = 0; i < kE8Width; ++i)
    x[i] = i < width ? block[first + i] * inverse_scale : 0;
}

// Weights w and their points v at a scale: what least squares needs.
struct Fit {
  double wv = 0, vv = 0, ww = 0;

  void add(std::span<const float> block, std::span<const float> importance, std::int64_t first,
           const std::int8_t* values) {
    const auto end =
        std::min<std::int64_t>(first + kE8Width, static_cast<std::int64_t>(block.size()));
    for (std::int64_t k = first; k < end; ++k) {
      const double weight = importance.empty() ? 1.0 : importance[k];
      const double w = block[k], v = values[k - first];
      wv += weight * w * v;
      vv += weight * v * v;
      ww += weight * w * w;
    }
  }
  double scale() const { return vv > 0 && wv > 0 ? wv / vv : 0; }
  double error() const { return vv > 0 && wv > 0 ? ww - wv * wv / vv : ww; }
};

// Rounds the octets [0, n_octets) that are multiples of `step`. `codes` may be null.
Fit round_octets(int bits, std::span<const float> block, std::span<const float> importance,
                 float scale, std::int64_t step, std::uint8_t* codes) {
  Fit fit;
  const float inverse = 1.0f / scale / static_cast<float>(e8p_unit(bits));
  std::uint8_t scratch[kE8Width];
  for (std::int64_t first = 0; first < static_cast<std::int64_t>(block.size());
       first += step * kE8Width) {
    float x[kE8Width];
    load_octet(block, first, inverse, x);
    std::uint8_t* to = codes == nullptr ? scratch : codes + first;
    e8p_quantize_octet(bits, x, to);
    std::int8_t values[kE8Width];
    e8p_decode_octet(bits, to, values);
    fit.add(block, importance, first, values);
  }
  return fit;
}

float root_mean_square(std::span<const float> block) {
  double sum = 0;
  for (const float w : block) sum += static_cast<double>(w) * w;
  return static_cast<float>(std::sqrt(sum / static_cast<double>(block.size())));
}

}  // namespace

float e8p_search_scale(int bits, std::span<const float> block, std::span<const float> importance) {
  const float base =
      root_mean_square(block) / e8p_best_rms(bits) / static_cast<float>(e8p_unit(bits));
  if (!std::isfinite(1.0f / base)) return 0;
  const auto n_octets = static_cast<std::int64_t>((block.size() + kE8Width - 1) / kE8Width);
  const std::int64_t step = std::max<std::int64_t>(1, n_octets / kSampledOctets);
  double best = 0, least = 0;
  for (const float factor : kFactors) {
    const Fit fit = round_octets(bits, block, importance, base * factor, step, nullptr);
    if (best > 0 && fit.error() >= least) continue;
    best = fit.scale() > 0 ? fit.scale() : base;
    least = fit.error();
  }
  return static_cast<float>(best);
}

QuantizeError quantize_e8p_row(std::span<const float> row, std::span<const float> importance,
                               RowCodes& out) {
  const EncodingSpec spec = encoding_spec(out.encoding);
  const std::size_t width = std::min(row.size(), static_cast<std::size_t>(spec.block));
  for (std::size_t b = 0, first = 0; first < row.size(); ++b, first += width) {
    const std::size_t n = std::min(width, row.size() - first);
    const std::span<const float> block = row.subspan(first, n);
    const std::span<const float> of_block =
        importance.empty() ? importance : importance.subspan(first, n);
    // A scale that a half cannot hold leaves zeros.
    const float scale = std::min(kLargestHalf, e8p_search_scale(spec.bits, block, of_block));
    if (f16_to_f32(f32_to_f16(scale)) == 0) continue;
    const Fit fit = round_octets(spec.bits, block, of_block, f16_to_f32(f32_to_f16(scale)), 1,
                                 out.codes.data() + first);
    const double fitted = fit.scale() > 0 ? fit.scale() : scale;
    out.scales_f16[b] = f32_to_f16(std::min(kLargestHalf, static_cast<float>(fitted)));
  }
  std::vector<float> decoded(row.size());
  decode_codes(out, decoded);
  return measure_error(row, decoded);
}

}  // namespace cria
