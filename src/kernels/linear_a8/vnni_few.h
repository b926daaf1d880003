// linear_a8 with AVX-512 VNNI: one or two tokens. Codes go from memory through registers, up to
// four panels side by side, which is as many streams as one core needs to read at its limit.
// Internal linkage throughout, as in panel/generic.h.
#pragma once

#include "kernels/linear_a8/vnni.h"

namespace cria::avx512 {
namespace {

// Whether an AMD core reads panels one after the other, asking for nothing, rather than four side
// by side, asking. One Zen 4 core, 1 token, GB/s (in brackets four): q4 31 (23), q8 31 (20), q4nl
// 30 (23), q4kmin 26 (24), q6k 28 (20), q3 28 (24), q2kmin 27 (26); but q3k 24 (25), and e8p2,
// where it is expanded to memory, 8.0 (9.7). q4 besides: one that asks 22, two that do not 20, four
// 23.
template <Encoding encoding>
inline constexpr bool kOneStream = !avx2::kExpands<encoding> && encoding != Encoding::kQ3K;

// Whole panels that follow each other, for all (few) tokens of a call. One panel by itself asks for
// nothing.
template <Encoding encoding, int kPanels, int kTokens>
void run_few(const LinearA8Args& args, const PanelLayout& layout, std::int64_t row) {
  using Form = FormOf<encoding>;
  const __m512i table = code_table<encoding>(kOffset<encoding>);
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::byte* panels[kPanels];
  avx2::Prefetch prefetch[kPanels];
  __m512 acc[kPanels][kTokens];
  for (int p = 0; p < kPanels; ++p) {
    prefetch[p] = prefetch_of(kPanels, p, layout);
    panels[p] = args.panels + static_cast<std::size_t>(row / kPanelRows + p) * layout.size_bytes;
    for (int t = 0; t < kTokens; ++t) acc[p][t] = _mm512_setzero_ps();
  }
  spec::GroupWalk<encoding> walk(layout.scale_shift, 0);
  for (std::int64_t g = 0; g < n_groups; ++g, walk.next()) {
    const A8Block* blocks = args.blocks + g * kTokens;
    if constexpr (kPanels == 1) {
      avx2::ask_for_activations(args.codes, args.blocks, kTokens, g, n_groups);
    }
    avx2::ExpandedGroup expanded[kPanels];
    const std::uint8_t* codes[kPanels];
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      const spec::Group group = walk.of(panels[p]);
      if constexpr (kPanels == 1) avx2::touch_lines<encoding>(group);
      codes[p] = group_codes<encoding>(group, expanded[p]);
      if constexpr (kPanels > 1) {
        avx2::ask_ahead<encoding>(panels[p], walk, layout, kPanels * layout.size_bytes,
                                  prefetch[p]);
      }
    }
    __m512i part[kPanels][kTokens][Form::kBlocks];
    const auto start_at = [&](int t, int b) {
      return start_of<encoding>(broadcast_32(blocks[t].sums), _mm512_setzero_si512(), b);
    };
    dot_group<encoding, kPanels, kTokens>(codes, table, args.codes + g * kTokens * kColumnGroup,
                                          start_at, part);
    CRIA_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      const GroupScales<Form> scales = load_scales<encoding>(walk.of(panels[p]));
      CRIA_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        acc[p][t] = add_group<Form>(part[p][t], scales, blocks[t], acc[p][t]);
      }
    }
  }
  alignas(64) TokenSums sums[kTokens];
  for (int p = 0; p < kPanels; ++p) {
    for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(sums[t], acc[p][t]);
    write_sums(args, sums, row + p * kPanelRows, 0, kTokens);
  }
}

#if !defined(CRIA_EMULATE_AVX512)
// acc += kGroups groups of a panel from g on, whose codes are for several columns, side by side, so
// that one has something to do while another waits for its tables. REQUIRES: has_vbmi_and_gfni().
template <Encoding encoding, int kGroups, int kTokens>
CRIA_VBMI_INLINE void add_word_groups(const LinearA8Args& args,
                                      const WordWeights<encoding>& weights, const std::byte* panel,
                                      spec::GroupWalk<encoding>& walk, std::int64_t g,
                                      __m512 (&acc)[kTokens]) {
  using Form = FormOf<encoding>;
  const std::int8_t* columns = args.codes + g * kTokens * kColumnGroup;
  const A8Block* blocks = args.blocks + g * kTokens;
  alignas(32) std::int8_t x[kGroups * kTokens][kColumnGroup];
  __m512i part[kGroups][kTokens];
  CRIA_UNROLL
  for (int i = 0; i < kGroups * kTokens; ++i) {
    const __m256i ordered = weights.ordered(avx2::load_256(columns + i * kColumnGroup));
    _mm256_store_si256(reinterpret_cast<__m256i*>(x[i]), ordered);
    const __m512i x_sums = broadcast_32(blocks[i].sums);
    part[i / kTokens][i % kTokens] = start_of<encoding>(x_sums, _mm512_setzero_si512(), 0);
  }
  // Else they stay in registers and are taken out one by one, by shuffles.
  asm("" : "+m"(x));
  typename WordWeights<encoding>::Group loaded[kGroups];
  GroupScales<Form> scales[kGroups];
  CRIA_UNROLL
  for (int i = 0; i < kGroups; ++i, walk.next()) {
    const spec::Group group = walk.of(panel);
    loaded[i] = weights.load(group.codes);
    scales[i] = load_scales<encoding>(group);
  }
  CRIA_UNROLL
  for (int q = 0; q < kQuads; ++q) {
    CRIA_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      const __m512i w = weights.quad(loaded[i], q);
      CRIA_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        const __m512i quad = broadcast_32(x[i * kTokens + t] + 4 * q);
        part[i][t] = _mm512_dpbusd_epi32(part[i][t], w, quad);
      }
    }
  }
  CRIA_UNROLL
  for (int i = 0; i < kGroups; ++i) {
    CRIA_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      acc[t] = add_group<Form>(&part[i][t], scales[i], blocks[i * kTokens + t], acc[t]);
    }
  }
}

// What run_few does, for codes for several columns: one panel after the other, without asking
// ahead, as the processor reads along well enough for what has so much to do for a byte. REQUIRES:
// has_vbmi_and_gfni(). One Zen 4 core, 1 token, GB/s, and expanded to memory first: e8p2 19.7
// (11.4), e8p3 16.9 (9.1), e8p4 19.5 (11.9), q4s24 22 (18.7), q8s24 29 (26).
template <Encoding encoding, int kTokens>
CRIA_VBMI void run_few_words(const LinearA8Args& args) {
  constexpr int kGroups = encoding_spec(encoding).bits == 2 && kTokens == 1 ? 4 : 2;
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const WordWeights<encoding> weights;
  const std::int64_t n_groups = a8_blocks(args.n_cols);
  const std::byte* panel = args.panels;
  for (std::int64_t row = 0; row < args.n_rows; row += kPanelRows, panel += layout.size_bytes) {
    __m512 acc[kTokens];
    for (int t = 0; t < kTokens; ++t) acc[t] = _mm512_setzero_ps();
    spec::GroupWalk<encoding> walk(layout.scale_shift, 0);
    std::int64_t g = 0;
    for (; g + kGroups <= n_groups; g += kGroups) {
      add_word_groups<encoding, kGroups>(args, weights, panel, walk, g, acc);
    }
    for (; g < n_groups; ++g) add_word_groups<encoding, 1>(args, weights, panel, walk, g, acc);
    alignas(64) TokenSums sums[kTokens];
    for (int t = 0; t < kTokens; ++t) _mm512_storeu_ps(sums[t], acc[t]);
    write_sums(args, sums, row, 0, kTokens);
  }
}
#endif

template <Encoding encoding, int kTokens>
void run_few_rows(const LinearA8Args& args) {
#if !defined(CRIA_EMULATE_AVX512)
  if constexpr (avx2::kExpands<encoding>) {
    if (has_vbmi_and_gfni()) return run_few_words<encoding, kTokens>(args);
  }
#endif
  constexpr int kPanels = 4;
  const PanelLayout layout = panel_layout(args.encoding, args.n_cols);
  const bool one_stream = avx2::is_amd() && kOneStream<encoding>;
  std::int64_t row = 0;
  for (; !one_stream && row + (kPanels - 1) * kPanelRows < args.n_rows;
       row += kPanels * kPanelRows) {
    run_few<encoding, kPanels, kTokens>(args, layout, row);
  }
  for (; row < args.n_rows; row += kPanelRows) run_few<encoding, 1, kTokens>(args, layout, row);
}

}  // namespace
}  // namespace cria::avx512
