// Gate and up are the widest activations of a model: at 512 tokens of a 1B shape 33 MB, which no
// near cache holds. Here a few of their columns live for a few tokens, until the SwiGLU of them is
// made, and with it what the next linear reads. Of few tokens, threads that share no cache are
// spared handing all of them over (own_row.h).
#include "delegates/cpu/gated_linear.h"

#include <algorithm>
#include <utility>

#include "delegates/cpu/cpu_method.h"
#include "delegates/cpu/linear_tasks.h"
#include "delegates/cpu/plan_reads.h"

namespace cria {
namespace {

constexpr std::int64_t kColumns = kPanelsSideBySide * kPanelRows;  // of each matrix, many tokens
// Tokens at a time: results of both matrices are then 128 KB. A rest that is too few for the fast
// kernels goes with those before it.
constexpr std::int64_t kPassTokens = 8 * kA8TileTokens;
constexpr std::int64_t kMostTokens = kPassTokens + kA8TileTokens;
// Of few tokens, of which reading weights is most of the work: values that still stay in a near
// cache, so that each matrix is read for long.
constexpr std::int64_t kFewTokensValues = 10 * 1024;  // of each
static_assert(kFewTokensValues <= kMostTokens * kColumns);

}  // namespace

std::vector<Gating> find_gated_linears(const Plan& plan,
                                       const std::function<bool(std::uint32_t)>& quantizes,
                                       const std::function<bool(std::uint32_t)>& in_full) {
  std::vector<Gating> found(plan.ops.size(), Gating::kNone);
  if (is_part_of_method(plan)) return found;
  for (std::size_t i = 0; i + 1 < plan.ops.size(); ++i) {
    const PlanOp &linear = plan.ops[i], &swiglu = plan.ops[i + 1];
    const bool is_pair = linear.kind == PlanOpKind::kLinear && linear.weights.size() == 2 &&
                         !linear.accumulate && linear.column == 0 &&
                         swiglu.kind == PlanOpKind::kSwiGlu && swiglu.x == linear.out;
    if (!is_pair || is_read_later(plan, i + 2, linear.out)) continue;
    const std::int64_t width = plan.buffers[swiglu.out].width;
    const bool fits = std::ranges::all_of(linear.weights, [&](std::uint32_t w) {
      return plan.weights[w].n_rows == width && quantizes(w) && in_full(w);
    });
    if (!fits) continue;
    found[i] = Gating::kFloats;
    if (i + 2 == plan.ops.size()) continue;
    const PlanOp& next = plan.ops[i + 2];
    const bool as_codes = next.kind == PlanOpKind::kLinear && next.x == swiglu.out &&
                          std::ranges::all_of(next.weights, quantizes) &&
                          !is_read_later(plan, i + 3, swiglu.out);
    if (as_codes) found[i] = Gating::kQuantized;
  }
  return found;
}

// Some columns of the SwiGLU for some tokens: at most kMostTokens * kColumns values.
void CpuMethod::gated_columns(const PlanOp& linear, const PlanOp& swiglu, const CpuCall& call,
                              A8View x, const GatedPart& part) {
  alignas(64) float sums[2][kMostTokens * kColumns];  // gate and up
  const std::int64_t n_blocks = a8_blocks(plan_.buffers[linear.x].width);
  for (int i = 0; i < 2; ++i) {
    const CpuWeight& weight = weights_[linear.weights[i]];
    const auto panel = static_cast<std::size_t>(part.column / kPanelRows);
    kernels_.linear_a8({.encoding = weight.encoding,
                        .panels = weight.bytes.data() + panel * weight.panel_bytes,
                        .n_rows = part.n_columns,
                        .n_cols = weight.n_cols,
                        .codes = x.codes + part.token * n_blocks * kColumnGroup,
                        .blocks = x.blocks + part.token * n_blocks,
                        .n_tokens = part.n_tokens,
                        .out = sums[i],
                        .out_stride = part.n_columns,
                        .accumulate = false});
  }
  const std::int64_t width = plan_.buffers[swiglu.out].width;
  float* out = part.quantizes ? sums[0] : row(swiglu.out, call, part.token) + part.column;
  kernels_.swiglu({.gate = sums[0],
                   .up = sums[1],
                   .in_stride = part.n_columns,
                   .n_tokens = part.n_tokens,
                   .width = part.n_columns,
                   .out = out,
                   .out_stride = part.quantizes ? part.n_columns : width});
  if (!part.quantizes) return;
  for (std::int64_t t = 0; t < part.n_tokens; t += kA8TileTokens) {
    const std::int64_t n = std::min(kA8TileTokens, part.n_tokens - t);
    const std::int64_t at = a8_index(part.token + t, part.column / kColumnGroup,
                                     n_rows(linear.x, call), a8_blocks(width));
    kernels_.quantize_a8({.x = sums[0] + t * part.n_columns,
                          .x_stride = part.n_columns,
                          .n_rows = n,
                          .first_token = 0,
                          .n_tokens = n,
                          .n_cols = part.n_columns,
                          .codes = next_x_.codes() + at * kColumnGroup,
                          .blocks = next_x_.blocks() + at});
  }
}

void CpuMethod::gated_linear(std::size_t index, const CpuCall& call) {
  const PlanOp &linear = plan_.ops[index], &swiglu = plan_.ops[index + 1];
  const bool quantizes = gating_[index] == Gating::kQuantized;
  const LinearInput input = prepare_input(index, call);
  const CpuWeight& gate = weights_[linear.weights[0]];
  // A task has the same panels of both matrices.
  const LinearWeight both = {(gate.n_rows + kPanelRows - 1) / kPanelRows, 2 * gate.panel_bytes};
  const std::int64_t n_tokens = n_rows(linear.x, call);
  const LinearTasks tasks = linear_tasks({&both, 1}, n_tokens);
  const std::int64_t step =
      n_tokens < kManyTokens ? kFewTokensValues / n_tokens / kColumns * kColumns : kColumns;
  const auto gated_panels = [&](A8View x, std::int64_t first_panel, std::int64_t n_panels) {
    const std::int64_t first = first_panel * kPanelRows;
    const std::int64_t end = std::min(first + n_panels * kPanelRows, gate.n_rows);
    for (std::int64_t t = 0; t < n_tokens;) {
      const std::int64_t left = n_tokens - t;
      const std::int64_t n = left < kMostTokens ? left : kPassTokens;
      for (std::int64_t column = first; column < end; column += step) {
        gated_columns(linear, swiglu, call, x,
                      {column, std::min(step, end - column), t, n, quantizes});
      }
      t += n;
    }
  };
  parallel_for(tasks.n_tasks(), [&](std::int64_t task, std::int32_t thread) {
    const A8View x = input_of(linear, input, call, thread);
    tasks.for_each_part(task, [&](std::size_t, std::int64_t first, std::int64_t n_panels) {
      gated_panels(x, first, n_panels);
    });
  });
  if (!quantizes) return;
  std::swap(x_, next_x_);
  quantized_ = swiglu.out;
}

}  // namespace cria
