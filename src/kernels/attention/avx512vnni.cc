// attention with AVX-512 VNNI: over a cache in int8 in steps of 16 rows, over others by blocks of
// rows.
#include "kernels/attention/avx512_block.h"
#include "kernels/attention/vnni_scores.h"
#include "kernels/attention/vnni_values.h"

namespace cria {
namespace attention_steps {
namespace {

struct VnniWay {
  static constexpr bool kStepsAsk = true;
  using Keys = VnniKeys;
  using Values = VnniValues;
  struct Products {};

  static void score(const Step& step, const Keys& keys, std::int64_t head_dim, Products&,
                    float (*scores)[kTile]) {
    if (!keys.scales.one_scale) return VnniScorePass<0, false>(step, keys, head_dim, scores).run();
    if (head_dim == 64) return VnniScorePass<2, true>(step, keys, head_dim, scores).run();
    if (head_dim == 128) return VnniScorePass<4, true>(step, keys, head_dim, scores).run();
    VnniScorePass<0, true>(step, keys, head_dim, scores).run();
  }

  static void weigh(WeighPass& pass, const Mix<Values>& before, Products&) {
    VnniMultiplier(before).run(pass);
  }

  static void add_values(const Mix<Values>& mix, Products&) { VnniMultiplier(mix).run(); }
};

}  // namespace
}  // namespace attention_steps

void CRIA_AVX512VNNI_NAME(attention)(const AttentionArgs& args) {
  if (args.k_type == KvType::kQ8 && args.v_type == KvType::kQ8) {
    return attention_steps::attention<attention_steps::VnniWay>(args);
  }
  attention_block::attention<avx512::Avx512Attention>(args);
}

}  // namespace cria
