#include "format/pte/llm_method.h"

#include <limits>

#include "base/quote.h"

namespace cria::pte {
namespace {

Status check_size(const char* what, std::uint64_t value) {
  if (value >= 1 && value <= static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max())) {
    return {};
  }
  return unsupported("{} is {}, expected 1 to {}", what, value,
                     std::numeric_limits<std::int32_t>::max());
}

std::int32_t narrow(std::uint64_t value) { return static_cast<std::int32_t>(value); }

// How one argument of a method differs from what is expected, or ok.
Status check_argument(const Value& value, const ArgumentSpec& expected, const char* name) {
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor == nullptr)
    return unsupported("{} is a {}, expected a tensor", name, value_kind_name(value));
  if (tensor->scalar_type != expected.scalar_type ||
      tensor->sizes.size() != expected.sizes.size()) {
    return unsupported("{} is {} of rank {}, expected {} of rank {}", name,
                       scalar_type_name(tensor->scalar_type), tensor->sizes.size(),
                       scalar_type_name(expected.scalar_type), expected.sizes.size());
  }
  const bool dynamic = tensor->shape_dynamism == ShapeDynamism::kDynamicBound;
  if (tensor->shape_dynamism == ShapeDynamism::kDynamicUnbound || dynamic != expected.is_dynamic) {
    return unsupported("{} has a {} shape", name, dynamic ? "dynamic" : "static or unbound");
  }
  if (!tensor->allocation || tensor->allocation->memory_id != expected.arena) {
    return unsupported("{} is not in arena {}", name, expected.arena);
  }
  return {};
}

// The sizes of argument `index`. REQUIRES: it is a tensor of that rank.
const std::vector<std::int32_t>& sizes_of(const ExecutionPlan& plan,
                                          const std::vector<std::int32_t>& args, int index) {
  return std::get<Tensor>(plan.values[args[index]]).sizes;
}

Status check_call(const ExecutionPlan& plan) {
  if (plan.chains.size() != 1 || plan.chains[0].instructions.empty()) {
    return unsupported("calls no delegate");
  }
  for (const Instruction& instruction : plan.chains[0].instructions) {
    if (!std::holds_alternative<DelegateCall>(instruction)) {
      return unsupported("does more than calling delegates");
    }
    if (std::get<DelegateCall>(instruction).args !=
        std::get<DelegateCall>(plan.chains[0].instructions[0]).args) {
      return unsupported("calls its delegates with different arguments");
    }
  }
  const auto& args = std::get<DelegateCall>(plan.chains[0].instructions[0]).args;
  if (args.size() != kLlmArgumentCount) {
    return unsupported("its delegate takes {} arguments, expected {}", args.size(),
                       kLlmArgumentCount);
  }
  const std::vector<std::int32_t> inputs = {args[kTokensArgument], args[kInputPosArgument]};
  const std::vector<std::int32_t> outputs = {args[kLogitsArgument]};
  if (plan.inputs != inputs || plan.outputs != outputs) {
    return unsupported("its inputs and outputs are not tokens, input_pos and logits");
  }
  return {};
}

Result<LlmMethodShape> read_shape(const ExecutionPlan& plan) {
  CRIA_RETURN_IF_ERROR(check_call(plan));
  const auto& args = std::get<DelegateCall>(plan.chains[0].instructions[0]).args;
  static constexpr const char* kNames[kLlmArgumentCount] = {"tokens", "input_pos", "kv_cache",
                                                            "scratch", "logits"};
  static constexpr std::size_t kRanks[kLlmArgumentCount] = {2, 1, 2, 1, 3};
  for (int i = 0; i < kLlmArgumentCount; ++i) {
    const auto* tensor = std::get_if<Tensor>(&plan.values[args[i]]);
    if (tensor == nullptr || tensor->sizes.size() != kRanks[i]) {
      return unsupported("{} is no tensor of rank {}", kNames[i], kRanks[i]);
    }
  }
  const auto& logits = sizes_of(plan, args, kLogitsArgument);
  const auto& cache = sizes_of(plan, args, kKvCacheArgument);
  LlmMethodShape shape;
  shape.max_tokens = sizes_of(plan, args, kTokensArgument)[1];
  shape.n_positions = cache[0];
  shape.bytes_per_position = static_cast<std::uint64_t>(cache[1]);
  shape.scratch_bytes = static_cast<std::uint64_t>(sizes_of(plan, args, kScratchArgument)[0]);
  shape.n_vocab = logits[2];
  const auto& logits_tensor = std::get<Tensor>(plan.values[args[kLogitsArgument]]);
  shape.all_rows = logits_tensor.shape_dynamism == ShapeDynamism::kDynamicBound;
  // What is not in the shape follows from it.
  CRIA_ASSIGN_OR_RETURN(const std::vector<ArgumentSpec> expected, llm_arguments(shape));
  for (int i = 0; i < kLlmArgumentCount; ++i) {
    const Value& value = plan.values[args[i]];
    CRIA_RETURN_IF_ERROR(check_argument(value, expected[i], kNames[i]));
    if (std::get<Tensor>(value).sizes != expected[i].sizes) {
      return unsupported("the sizes of {} do not fit the other arguments", kNames[i]);
    }
  }
  return shape;
}

}  // namespace

Result<std::vector<ArgumentSpec>> llm_arguments(const LlmMethodShape& shape) {
  CRIA_RETURN_IF_ERROR(check_size("max_tokens", shape.max_tokens));
  CRIA_RETURN_IF_ERROR(check_size("n_positions", shape.n_positions));
  CRIA_RETURN_IF_ERROR(check_size("bytes_per_position", shape.bytes_per_position));
  CRIA_RETURN_IF_ERROR(check_size("scratch_bytes", shape.scratch_bytes));
  CRIA_RETURN_IF_ERROR(check_size("n_vocab", shape.n_vocab));
  const std::int32_t n_rows = shape.all_rows ? narrow(shape.max_tokens) : 1;
  return std::vector<ArgumentSpec>{
      {.role = ArgumentRole::kInput,
       .scalar_type = ScalarType::kLong,
       .sizes = {1, narrow(shape.max_tokens)},
       .is_dynamic = true},
      {.role = ArgumentRole::kInput, .scalar_type = ScalarType::kLong, .sizes = {1}},
      {.role = ArgumentRole::kInternal,
       .scalar_type = ScalarType::kByte,
       .sizes = {narrow(shape.n_positions), narrow(shape.bytes_per_position)},
       .is_dynamic = true,
       .arena = kCacheArena},
      {.role = ArgumentRole::kInternal,
       .scalar_type = ScalarType::kByte,
       .sizes = {narrow(shape.scratch_bytes)}},
      {.role = ArgumentRole::kOutput,
       .scalar_type = ScalarType::kFloat,
       .sizes = {1, n_rows, narrow(shape.n_vocab)},
       .is_dynamic = shape.all_rows},
  };
}

Result<LlmMethodShape> read_llm_method(const ExecutionPlan& plan) {
  Result<LlmMethodShape> shape = read_shape(plan);
  if (shape.ok()) return shape;
  return std::move(shape).status().with_context(fmt::format("method {}", quote(plan.name)));
}

}  // namespace cria::pte
