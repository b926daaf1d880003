#include "api/model_tail.h"

#include <algorithm>

#include "api/method_parts.h"
#include "base/huge_pages.h"
#include "delegates/cpu/cpu_delegate.h"
#include "targets/split_plan.h"

namespace cria {
namespace {

constexpr std::int32_t kDtypeByte = 0, kDtypeInt64 = 4, kDtypeFloat = 6;  // ExecuTorch's ScalarType
constexpr const char* kMethod = "verify";

Result<Plan> plan_of(const Program& program) {
  CRIA_ASSIGN_OR_RETURN(MethodParts method, read_method_parts(program, kMethod));
  if (method.parts.size() == 1 && !method.parts[0].on_npu) return std::move(method.parts[0].plan);
  return unsupported("method {} has {} parts, expected one, of the CPU", kMethod,
                     method.parts.size());
}

Status check_context(const Program& program, std::int64_t n_tokens) {
  if (!program.has_method("get_max_context_len")) return {};
  CRIA_ASSIGN_OR_RETURN(const std::int64_t max_context, program.constant("get_max_context_len"));
  if (n_tokens <= max_context) return {};
  return invalid_argument("windows of {} tokens, this program has {} positions", n_tokens,
                          max_context);
}

std::vector<PlanBuffer> imported(const Plan& part) {
  std::vector<PlanBuffer> buffers;
  for (const std::uint32_t id : part.imports) buffers.push_back(part.buffers[id]);
  return buffers;
}

}  // namespace

Result<std::unique_ptr<ModelTail>> ModelTail::create(
    std::shared_ptr<const Program> program, std::span<const std::vector<std::int32_t>> windows,
    ThreadPool& pool) {
  std::unique_ptr<ModelTail> tail(new ModelTail(std::move(program), pool));
  CRIA_ASSIGN_OR_RETURN(tail->plan_, plan_of(*tail->program_));
  const Plan& plan = tail->plan_;
  const std::int64_t n_tokens = std::ssize(windows[0]);
  CRIA_RETURN_IF_ERROR(check_context(*tail->program_, n_tokens));
  tail->cut_steps(windows);
  const std::int64_t granularity = plan.kv.granularity();
  tail->n_ctx_ = (n_tokens + granularity - 1) / granularity * granularity;
  CRIA_ASSIGN_OR_RETURN(tail->cache_,
                        AlignedBuffer::allocate(static_cast<std::uint64_t>(tail->n_ctx_) *
                                                plan.kv.bytes_per_position()));
  CRIA_ASSIGN_OR_RETURN(tail->scratch_, AlignedBuffer::allocate(plan.scratch_bytes));
  prefer_huge_pages(tail->scratch_.bytes());
  CRIA_ASSIGN_OR_RETURN(tail->tail_, tail->part_of(cut_plan(plan, 0, plan.ops.size())));
  return tail;
}

void ModelTail::cut_steps(std::span<const std::vector<std::int32_t>> windows) {
  for (const std::vector<std::int32_t>& window : windows) {
    for (std::int64_t first = 0; first < std::ssize(window); first += plan_.max_tokens) {
      const auto begin = window.begin() + first;
      const std::int64_t n = std::min(plan_.max_tokens, std::ssize(window) - first);
      steps_.push_back({{begin, begin + n}, first, {}});
    }
  }
}

Result<ModelTail::Part> ModelTail::part_of(const Plan& plan) {
  Part part;
  part.blob = encode_plan(plan);
  CRIA_ASSIGN_OR_RETURN(part.instance, DelegateInstance::create(cpu_delegate(), *program_, pool_,
                                                                part.blob, {{"act", "a16"}}));
  return part;
}

Result<std::size_t> ModelTail::start_for(std::string_view key) const {
  const auto reads = [&](const PlanOp& op) {
    return std::ranges::any_of(op.weights,
                               [&](std::uint32_t w) { return plan_.weights[w].key == key; });
  };
  const auto first = std::ranges::find_if(plan_.ops, reads);
  if (first == plan_.ops.end()) return internal_error("{} is read by no op", key);
  auto start = static_cast<std::size_t>(first - plan_.ops.begin());
  // The cache holds another window: what attention reads of it must be written behind the start.
  for (std::size_t i = plan_.ops.size(); i-- > start;) {
    if (!plan_op_attends(plan_.ops[i])) continue;
    const auto append = std::ranges::find_if(plan_.ops, [&](const PlanOp& op) {
      return op.kind == PlanOpKind::kKvAppend && op.layer == plan_.ops[i].layer;
    });
    start = std::min(start, static_cast<std::size_t>(append - plan_.ops.begin()));
  }
  return start;
}

std::span<float> ModelTail::rows(const PlanBuffer& buffer, const Step& step) {
  const std::int64_t n_rows = buffer.single_row ? 1 : std::ssize(step.tokens);
  return {reinterpret_cast<float*>(scratch_.data() + buffer.offset_bytes),
          static_cast<std::size_t>(n_rows * buffer.width)};
}

Status ModelTail::execute(const Part& part, Step& step, std::span<float> logits) {
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    std::ranges::copy(step.kept[i], rows(kept_[i], step).begin());
  }
  const std::int64_t n_tokens = std::ssize(step.tokens);
  const auto position_bytes = static_cast<std::int64_t>(plan_.kv.bytes_per_position());
  const auto scratch_bytes = static_cast<std::int64_t>(scratch_.size_bytes());
  cria_tensor args[] = {
      {step.tokens.data(),
       step.tokens.size() * sizeof(std::int64_t),
       kDtypeInt64,
       2,
       {1, n_tokens}},
      {&step.position, sizeof(step.position), kDtypeInt64, 1, {1}},
      {cache_.data(), cache_.size_bytes(), kDtypeByte, 2, {n_ctx_, position_bytes}},
      {scratch_.data(), scratch_.size_bytes(), kDtypeByte, 1, {scratch_bytes}},
      {logits.data(), logits.size_bytes(), kDtypeFloat, 3, {1, n_tokens, plan_.n_vocab}},
  };
  return part.instance->execute(args);
}

Status ModelTail::advance(std::size_t op) {
  if (op == start_) return {};
  const Plan tail = cut_plan(plan_, op, plan_.ops.size());
  const std::vector<PlanBuffer> kept = imported(tail);
  CRIA_ASSIGN_OR_RETURN(const Part between, part_of(cut_plan(plan_, start_, op)));
  CRIA_ASSIGN_OR_RETURN(tail_, part_of(tail));
  for (Step& step : steps_) {
    CRIA_RETURN_IF_ERROR(execute(between, step, {}));
    step.kept.clear();
    for (const PlanBuffer& buffer : kept) {
      const std::span<const float> alive = rows(buffer, step);
      step.kept.emplace_back(alive.begin(), alive.end());
    }
  }
  kept_ = kept;
  start_ = op;
  return {};
}

Status ModelTail::run(std::span<float> logits) {
  for (Step& step : steps_) {
    const std::size_t n = step.tokens.size() * static_cast<std::size_t>(plan_.n_vocab);
    CRIA_RETURN_IF_ERROR(execute(tail_, step, logits.first(n)));
    logits = logits.subspan(n);
  }
  return {};
}

}  // namespace cria
