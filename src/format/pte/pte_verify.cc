#include "format/pte/pte_verify.h"

#include <algorithm>
#include <unordered_set>

#include "base/quote.h"

namespace cria::pte {
namespace {

constexpr std::size_t kMaxRank = 16;

// The same rules for the inputs, outputs and call arguments of a plan: indices of its values.
Status verify_value_indices(const std::vector<std::int32_t>& indices, std::size_t n_values,
                            const char* what) {
  for (const std::int32_t index : indices) {
    if (index < 0 || static_cast<std::size_t>(index) >= n_values) {
      return bad_input("{} name value {}, there are {}", what, index, n_values);
    }
  }
  return {};
}

class PlanVerifier {
 public:
  PlanVerifier(const Program& program, const ExecutionPlan& plan)
      : program_(program), plan_(plan) {}

  Status verify() const;

 private:
  Status verify_value(const Value& value) const;
  Status verify_list_items(const std::vector<std::int32_t>& items, bool optional) const;
  Status verify_tensor(const Tensor& tensor) const;
  Status verify_shape(const Tensor& tensor) const;
  Status verify_allocation(const Tensor& tensor) const;
  Status verify_data(const Tensor& tensor) const;
  Status verify_delegate(const BackendDelegate& delegate) const;
  Status verify_chain(const Chain& chain) const;
  Status verify_instruction(const Instruction& instruction, const Chain& chain) const;

  const Program& program_;
  const ExecutionPlan& plan_;
};

Status PlanVerifier::verify() const {
  for (std::size_t i = 0; i < plan_.values.size(); ++i) {
    Status status = verify_value(plan_.values[i]);
    if (!status.ok()) return std::move(status).with_context(fmt::format("value {}", i));
  }
  CRIA_RETURN_IF_ERROR(verify_value_indices(plan_.inputs, plan_.values.size(), "inputs"));
  CRIA_RETURN_IF_ERROR(verify_value_indices(plan_.outputs, plan_.values.size(), "outputs"));
  for (const std::int64_t size_bytes : plan_.non_const_buffer_sizes) {
    if (size_bytes < 0) return bad_input("an arena of {} bytes", size_bytes);
  }
  for (const BackendDelegate& delegate : plan_.delegates) {
    CRIA_RETURN_IF_ERROR(verify_delegate(delegate));
  }
  for (const Chain& chain : plan_.chains) CRIA_RETURN_IF_ERROR(verify_chain(chain));
  return {};
}

Status PlanVerifier::verify_value(const Value& value) const {
  if (const auto* tensor = std::get_if<Tensor>(&value)) return verify_tensor(*tensor);
  if (const auto* list = std::get_if<TensorList>(&value)) {
    return verify_list_items(list->items, /*optional=*/false);
  }
  if (const auto* list = std::get_if<OptionalTensorList>(&value)) {
    return verify_list_items(list->items, /*optional=*/true);
  }
  if (const auto* list = std::get_if<IntList>(&value)) {
    for (const std::int64_t index : list->items) {
      if (index < 0 || static_cast<std::uint64_t>(index) >= plan_.values.size() ||
          !std::holds_alternative<std::int64_t>(plan_.values[index])) {
        return bad_input("an int list names value {}, which is no int of the {} values", index,
                         plan_.values.size());
      }
    }
  }
  return {};
}

Status PlanVerifier::verify_list_items(const std::vector<std::int32_t>& items,
                                       bool optional) const {
  for (const std::int32_t index : items) {
    if (optional && index == -1) continue;
    const bool in_range = index >= 0 && static_cast<std::size_t>(index) < plan_.values.size();
    const bool tensor_or_none =
        in_range && (std::holds_alternative<Tensor>(plan_.values[index]) ||
                     (optional && std::holds_alternative<None>(plan_.values[index])));
    if (!tensor_or_none) {
      return bad_input("a tensor list names value {}, which is no tensor of the {} values", index,
                       plan_.values.size());
    }
  }
  return {};
}

Status PlanVerifier::verify_tensor(const Tensor& tensor) const {
  CRIA_RETURN_IF_ERROR(verify_shape(tensor));
  CRIA_RETURN_IF_ERROR(verify_allocation(tensor));
  return verify_data(tensor);
}

Status PlanVerifier::verify_shape(const Tensor& tensor) const {
  const std::size_t rank = tensor.sizes.size();
  if (rank > kMaxRank) return bad_input("a tensor of rank {}, at most {}", rank, kMaxRank);
  for (const std::int32_t size : tensor.sizes) {
    if (size < 0) return bad_input("a tensor with size {}", size);
  }
  if (scalar_type_bytes(tensor.scalar_type) != 0 && !tensor_bytes(tensor)) {
    return bad_input("a tensor's size overflows");
  }
  std::uint32_t seen = 0;
  for (const std::uint8_t dim : tensor.dim_order) {
    if (dim < rank) seen |= 1u << dim;
  }
  if (tensor.dim_order.size() != rank || seen != (1u << rank) - 1) {
    return bad_input("a tensor's dim_order is no permutation of its {} dimensions", rank);
  }
  return {};
}

Status PlanVerifier::verify_allocation(const Tensor& tensor) const {
  if (!tensor.allocation) return {};
  const AllocationInfo& place = *tensor.allocation;
  if (place.memory_id == 0 || place.memory_id >= plan_.non_const_buffer_sizes.size()) {
    return bad_input("a tensor in arena {}, arenas are 1 to {}", place.memory_id,
                     std::int64_t(plan_.non_const_buffer_sizes.size()) - 1);
  }
  const auto arena_bytes = static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, plan_.non_const_buffer_sizes[place.memory_id]));
  const std::uint64_t size_bytes = tensor_bytes(tensor).value_or(0);
  if (place.offset_bytes > arena_bytes || size_bytes > arena_bytes - place.offset_bytes) {
    return bad_input("a tensor of {} bytes at {} of arena {}, which has {}", size_bytes,
                     place.offset_bytes, place.memory_id, arena_bytes);
  }
  return {};
}

// Constant and initial data: an index into one of the program's lists of offsets.
Status PlanVerifier::verify_data(const Tensor& tensor) const {
  if (tensor.data_buffer_idx == 0) return {};
  const bool external = tensor.extra && tensor.extra->location != 0;
  if (external) return {};
  std::size_t n_data = program_.constant_buffer.size();
  if (tensor.allocation) {  // the first value of memory that is written to
    const std::uint64_t list = tensor.extra ? tensor.extra->mutable_data_segments_idx : 0;
    n_data = list < program_.mutable_data_segments.size()
                 ? program_.mutable_data_segments[list].offsets.size()
                 : 0;
  } else if (program_.constant_segment && !program_.constant_segment->offsets.empty()) {
    n_data = program_.constant_segment->offsets.size();
  }
  if (tensor.data_buffer_idx < n_data) return {};
  return bad_input("a tensor's data is buffer {}, there are {}", tensor.data_buffer_idx, n_data);
}

Status PlanVerifier::verify_delegate(const BackendDelegate& delegate) const {
  const std::size_t n_data =
      delegate.in_segment ? program_.segments.size() : program_.backend_delegate_data.size();
  if (delegate.data_index < n_data) return {};
  return bad_input("delegate {}: its data is {} {}, there are {}", quote(delegate.id),
                   delegate.in_segment ? "segment" : "inline data", delegate.data_index, n_data);
}

Status PlanVerifier::verify_chain(const Chain& chain) const {
  CRIA_RETURN_IF_ERROR(verify_value_indices(chain.inputs, plan_.values.size(), "chain inputs"));
  CRIA_RETURN_IF_ERROR(verify_value_indices(chain.outputs, plan_.values.size(), "chain outputs"));
  for (std::size_t i = 0; i < chain.instructions.size(); ++i) {
    Status status = verify_instruction(chain.instructions[i], chain);
    if (!status.ok()) return std::move(status).with_context(fmt::format("instruction {}", i));
  }
  return {};
}

Status PlanVerifier::verify_instruction(const Instruction& instruction, const Chain& chain) const {
  const std::size_t n_values = plan_.values.size();
  if (const auto* call = std::get_if<KernelCall>(&instruction)) {
    if (call->op_index < 0 || static_cast<std::size_t>(call->op_index) >= plan_.operators.size()) {
      return bad_input("calls operator {}, there are {}", call->op_index, plan_.operators.size());
    }
    return verify_value_indices(call->args, n_values, "arguments");
  }
  if (const auto* call = std::get_if<DelegateCall>(&instruction)) {
    if (call->delegate_index < 0 ||
        static_cast<std::size_t>(call->delegate_index) >= plan_.delegates.size()) {
      return bad_input("calls delegate {}, there are {}", call->delegate_index,
                       plan_.delegates.size());
    }
    return verify_value_indices(call->args, n_values, "arguments");
  }
  if (const auto* move = std::get_if<MoveCall>(&instruction)) {
    return verify_value_indices({move->from, move->to}, n_values, "moves");
  }
  if (const auto* jump = std::get_if<JumpFalseCall>(&instruction)) {
    // One past the last instruction ends the chain.
    if (jump->destination < 0 ||
        static_cast<std::size_t>(jump->destination) > chain.instructions.size()) {
      return bad_input("jumps to instruction {}, there are {}", jump->destination,
                       chain.instructions.size());
    }
    return verify_value_indices({jump->condition}, n_values, "jumps");
  }
  return verify_value_indices({std::get<FreeCall>(instruction).value}, n_values, "frees");
}

Status verify_offsets(const Program& program, const SubsegmentOffsets& list, const char* what) {
  const bool empty = list.offsets.size() <= 1;  // only the placeholder
  if (!empty && list.segment_index >= program.segments.size()) {
    return bad_input("{} is segment {}, there are {}", what, list.segment_index,
                     program.segments.size());
  }
  const std::uint64_t size_bytes = list.segment_index < program.segments.size()
                                       ? program.segments[list.segment_index].size_bytes
                                       : 0;
  for (const std::uint64_t offset : list.offsets) {
    if (offset > size_bytes) {
      return bad_input("{}: data at {} of a segment of {} bytes", what, offset, size_bytes);
    }
  }
  return {};
}

Status verify_segments(const Program& program, std::uint64_t segment_data_bytes) {
  for (std::size_t i = 0; i < program.segments.size(); ++i) {
    const DataSegment& segment = program.segments[i];
    if (segment.size_bytes > segment_data_bytes ||
        segment.offset_bytes > segment_data_bytes - segment.size_bytes) {
      return bad_input("segment {} has {} bytes at {}, the segments have {} in all", i,
                       segment.size_bytes, segment.offset_bytes, segment_data_bytes);
    }
  }
  if (program.constant_segment) {
    CRIA_RETURN_IF_ERROR(
        verify_offsets(program, *program.constant_segment, "the constant segment"));
  }
  for (const SubsegmentOffsets& list : program.mutable_data_segments) {
    CRIA_RETURN_IF_ERROR(verify_offsets(program, list, "a mutable data segment"));
  }
  return {};
}

Status verify_named_data(const Program& program) {
  std::unordered_set<std::string_view> keys;
  for (const NamedData& named : program.named_data) {
    if (named.key.empty()) return bad_input("named data without a key");
    if (!keys.insert(named.key).second) {
      return bad_input("named data {} is there twice", quote(named.key));
    }
    if (named.segment_index >= program.segments.size()) {
      return bad_input("named data {} is segment {}, there are {}", quote(named.key),
                       named.segment_index, program.segments.size());
    }
  }
  return {};
}

}  // namespace

Status verify_program(const Program& program, std::uint64_t segment_data_bytes) {
  CRIA_RETURN_IF_ERROR(verify_segments(program, segment_data_bytes));
  CRIA_RETURN_IF_ERROR(verify_named_data(program));
  std::unordered_set<std::string_view> names;
  for (const ExecutionPlan& plan : program.execution_plans) {
    if (plan.name.empty()) return bad_input("a method without a name");
    if (!names.insert(plan.name).second) {
      return bad_input("method {} is there twice", quote(plan.name));
    }
    CRIA_RETURN_IF_ERROR(PlanVerifier(program, plan)
                             .verify()
                             .with_context(fmt::format("method {}", quote(plan.name))));
  }
  return {};
}

}  // namespace cria::pte
