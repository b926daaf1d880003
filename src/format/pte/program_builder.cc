#include "format/pte/program_builder.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/aligned_buffer.h"

namespace cria::pte {
namespace {

Tensor make_tensor(const ArgumentSpec& spec) {
  Tensor tensor;
  tensor.scalar_type = spec.scalar_type;
  tensor.sizes = spec.sizes;
  tensor.dim_order.resize(spec.sizes.size());
  std::iota(tensor.dim_order.begin(), tensor.dim_order.end(), std::uint8_t{0});
  tensor.shape_dynamism = spec.is_dynamic ? ShapeDynamism::kDynamicBound : ShapeDynamism::kStatic;
  return tensor;
}

// Adds the arguments as values, each at the next free place of its arena.
Status add_arguments(const MethodSpec& spec, ExecutionPlan& plan) {
  std::map<std::uint32_t, std::uint64_t> arena_bytes;
  for (const ArgumentSpec& argument : spec.arguments) {
    Tensor tensor = make_tensor(argument);
    const std::optional<std::uint64_t> size_bytes = tensor_bytes(tensor);
    if (!size_bytes || *size_bytes > (std::uint64_t{1} << 46)) {
      return invalid_argument("method '{}': argument {} has no valid size", spec.name,
                              plan.values.size());
    }
    if (argument.arena != kActivationArena && argument.arena != kCacheArena) {
      return invalid_argument("method '{}': argument {} is in arena {}, expected {} or {}",
                              spec.name, plan.values.size(), argument.arena, kActivationArena,
                              kCacheArena);
    }
    const std::uint64_t offset = align_up(arena_bytes[argument.arena], kVectorAlignment);
    tensor.allocation = AllocationInfo{argument.arena, offset};
    arena_bytes[argument.arena] = offset + *size_bytes;
    const auto index = static_cast<std::int32_t>(plan.values.size());
    if (argument.role == ArgumentRole::kInput) plan.inputs.push_back(index);
    if (argument.role == ArgumentRole::kOutput) plan.outputs.push_back(index);
    plan.values.emplace_back(std::move(tensor));
  }
  plan.non_const_buffer_sizes = {0};
  if (!arena_bytes.empty()) {
    plan.non_const_buffer_sizes.resize(arena_bytes.rbegin()->first + 1, 0);
    for (const auto& [arena, bytes] : arena_bytes) {
      plan.non_const_buffer_sizes[arena] =
          static_cast<std::int64_t>(align_up(bytes, kVectorAlignment));
    }
  }
  return {};
}

Result<ExecutionPlan> make_method(const MethodSpec& spec, std::uint32_t segment) {
  ExecutionPlan plan;
  plan.name = spec.name;
  CRIA_RETURN_IF_ERROR(add_arguments(spec, plan));
  plan.delegates = {{.id = spec.delegate_id,
                     .in_segment = true,
                     .data_index = segment,
                     .compile_specs = spec.compile_specs}};
  for (const DelegateSpec& delegate : spec.then) {
    plan.delegates.push_back({.id = delegate.id,
                              .in_segment = true,
                              .data_index = ++segment,
                              .compile_specs = delegate.compile_specs});
  }
  std::vector<std::int32_t> args(plan.values.size());
  std::iota(args.begin(), args.end(), 0);
  Chain chain;
  for (std::size_t i = 0; i < plan.delegates.size(); ++i) {
    chain.instructions.push_back(
        DelegateCall{.delegate_index = static_cast<std::int32_t>(i), .args = args});
  }
  plan.chains = {std::move(chain)};
  return plan;
}

ExecutionPlan make_constant(const ConstantMethod& spec) {
  ExecutionPlan plan;
  plan.name = spec.name;
  for (const auto& value : spec.values) {
    plan.outputs.push_back(static_cast<std::int32_t>(plan.values.size()));
    if (const bool* flag = std::get_if<bool>(&value)) {
      plan.values.emplace_back(*flag);
    } else {
      plan.values.emplace_back(std::get<std::int64_t>(value));
    }
  }
  plan.chains = {Chain{}};
  plan.non_const_buffer_sizes = {0};
  return plan;
}

}  // namespace

Result<Program> build_program(const ProgramSpec& spec) {
  Program program;
  for (const MethodSpec& method : spec.methods) {
    const auto segment = static_cast<std::uint32_t>(program.segments.size());
    CRIA_ASSIGN_OR_RETURN(ExecutionPlan plan, make_method(method, segment));
    program.execution_plans.push_back(std::move(plan));
    program.segments.push_back({.size_bytes = method.blob.size()});
    for (const DelegateSpec& delegate : method.then)
      program.segments.push_back({.size_bytes = delegate.blob.size()});
  }
  for (const ConstantMethod& constant : spec.constants) {
    program.execution_plans.push_back(make_constant(constant));
  }
  for (const NamedDataSpec& named : spec.named_data) {
    program.named_data.push_back(
        {.key = named.key, .segment_index = static_cast<std::uint32_t>(program.segments.size())});
    program.segments.push_back({.size_bytes = named.size_bytes});
  }
  return program;
}

Result<PteWriter> start_program(const std::string& path, const ProgramSpec& spec) {
  CRIA_ASSIGN_OR_RETURN(Program program, build_program(spec));
  CRIA_ASSIGN_OR_RETURN(PteWriter writer, PteWriter::create(path, std::move(program)));
  std::uint32_t segment = 0;
  for (const MethodSpec& method : spec.methods) {
    CRIA_RETURN_IF_ERROR(writer.append(segment++, method.blob));
    for (const DelegateSpec& delegate : method.then)
      CRIA_RETURN_IF_ERROR(writer.append(segment++, delegate.blob));
  }
  return writer;
}

CompileSpec text_spec(std::string key, std::string_view value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(value.data());
  return {.key = std::move(key), .value = {bytes, bytes + value.size()}};
}

}  // namespace cria::pte
