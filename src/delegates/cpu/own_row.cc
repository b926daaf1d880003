#include "delegates/cpu/own_row.h"

#include <algorithm>

#include "delegates/cpu/cpu_method.h"
#include "delegates/cpu/plan_reads.h"

namespace cria {

std::vector<bool> find_normed_linears(const Plan& plan,
                                      const std::function<bool(std::uint32_t)>& quantizes) {
  std::vector<bool> found(plan.ops.size(), false);
  if (is_part_of_method(plan)) return found;
  for (std::size_t i = 1; i < plan.ops.size(); ++i) {
    const PlanOp &norm = plan.ops[i - 1], &linear = plan.ops[i];
    const bool is_pair = norm.kind == PlanOpKind::kRmsNorm && linear.kind == PlanOpKind::kLinear &&
                         linear.x == norm.out && std::ranges::all_of(linear.weights, quantizes);
    // A thread may still read what is normed when another writes its results.
    found[i] = is_pair && !is_read_later(plan, i + 1, norm.out) &&
               !plan_buffers_overlap(plan, norm.x, linear.out);
  }
  return found;
}

CpuMethod::LinearInput CpuMethod::prepare_input(std::size_t index, const CpuCall& call) {
  const PlanOp& linear = plan_.ops[index];
  const bool a8 = std::ranges::any_of(
      linear.weights, [this](std::uint32_t weight) { return quantizes(weights_[weight]); });
  if (!a8) return {};
  if (n_rows(linear.x, call) > 1 || quantized_ == linear.x) {
    quantize(linear, call);
    return {};
  }
  ++own_row_serial_;
  return {.is_own = true, .norm = makes_norm(index, call) ? &plan_.ops[index - 1] : nullptr};
}

A8View CpuMethod::input_of(const PlanOp& linear, const LinearInput& input, const CpuCall& call,
                           std::int32_t thread) {
  if (!input.is_own) return {x_.codes(), x_.blocks()};
  OwnRow& own = own_rows_[static_cast<std::size_t>(thread)];
  const A8View view = {own.a8.codes(), own.a8.blocks()};
  if (own.serial == own_row_serial_) return view;
  own.serial = own_row_serial_;
  const std::int64_t width = plan_.buffers[linear.x].width;
  const float* x = row(linear.x, call, 0);
  if (input.norm != nullptr) {
    kernels_.rms_norm({.x = row(input.norm->x, call, 0),
                       .x_stride = width,
                       .n_tokens = 1,
                       .n_cols = width,
                       .weight = weights_[input.norm->weights[0]].floats(),
                       .epsilon = input.norm->epsilon,
                       .out = own.floats(),
                       .out_stride = width});
    x = own.floats();
  }
  kernels_.quantize_a8({.x = x,
                        .x_stride = width,
                        .n_rows = 1,
                        .first_token = 0,
                        .n_tokens = 1,
                        .n_cols = width,
                        .codes = own.a8.codes(),
                        .blocks = own.a8.blocks()});
  return view;
}

}  // namespace cria
