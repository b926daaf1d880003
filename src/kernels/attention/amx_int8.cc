// attention with AMX-INT8, over a cache in int8; what has few rows or half floats goes to AVX-512
// VNNI.
//
// Scores: 16 rows times 16 positions times a group of columns, whose sums leave the tile registers
// for their scales, as in linear_a8, or times all columns. Values: 16 rows times 64 positions times
// 16 columns.
#include "kernels/attention/amx_scores.h"
#include "kernels/attention/amx_values.h"
#include "kernels/attention/avx512_block.h"

namespace cria {
namespace attention_steps {
namespace {

// Fewer rows (tokens times heads) are faster without tiles.
constexpr std::int64_t kLeastAmxRows = 16;

struct AmxWay {
  static constexpr bool kStepsAsk = false;
  using Keys = AmxKeys;
  using Values = AmxValues;
  struct Products {
    AmxScoreProducts of_keys[2];  // of the panel at hand and the next
    AmxProducts of_values;        // of 16 columns
  };

  static void score(const Step& step, const Keys& keys, std::int64_t head_dim, Products& products,
                    float (*scores)[kTile]) {
    if (head_dim == 2 * kColumnGroup) return score<2>(step, keys, head_dim, products, scores);
    if (head_dim == 4 * kColumnGroup) return score<4>(step, keys, head_dim, products, scores);
    AmxScorePass<0, false>(step, keys, head_dim, products.of_keys, scores).run();
  }

  static void weigh(WeighPass& pass, const Mix<Values>& before, Products& products) {
    AmxMultiplier meanwhile(before, products.of_values);
    const int first = pass.first_row(), n_rows = pass.n_rows() - first;
    for (int i = 0, calls = 0; i < n_rows; ++i) {
      for (; calls < meanwhile.n_calls() * (i + 1) / n_rows; ++calls) meanwhile.advance();
      pass.weigh_row(first + i);
    }
  }

  static void add_values(const Mix<Values>& mix, Products& products) {
    AmxMultiplier(mix, products.of_values).finish();
  }

 private:
  template <int kGroups>
  static void score(const Step& step, const Keys& keys, std::int64_t head_dim, Products& products,
                    float (*scores)[kTile]) {
    if (keys.scales.one_scale) {
      return AmxScorePass<kGroups, true>(step, keys, head_dim, products.of_keys, scores).run();
    }
    AmxScorePass<kGroups, false>(step, keys, head_dim, products.of_keys, scores).run();
  }
};

}  // namespace
}  // namespace attention_steps

void CRIA_AMX_INT8_NAME(attention)(const AttentionArgs& args) {
  const bool q8 = args.k_type == KvType::kQ8 && args.v_type == KvType::kQ8;
  if (!q8 || args.n_tokens * args.n_heads < attention_steps::kLeastAmxRows) {
    return CRIA_AVX512VNNI_NAME(attention)(args);
  }
  const avx512::AmxTiles tiles;
  attention_steps::attention<attention_steps::AmxWay>(args);
}

}  // namespace cria
