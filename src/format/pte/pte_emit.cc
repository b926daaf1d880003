// Structs -> flatbuffer.
#include <flatbuffers/flatbuffers.h>

#include "format/pte/pte_flatbuffer.h"
#include "format/pte/pte_schema.h"

namespace cria::pte {
namespace {

using flatbuffers::Offset;
using flatbuffers::uoffset_t;
using namespace schema;
using Ref = Offset<void>;  // of a table, vector or string already emitted; 0: absent

// A flatbuffer is written back to front: what a table refers to is emitted before the table.
class Emitter {
 public:
  std::vector<std::byte> emit(const Program& program);

 private:
  // A table whose fields are set between begin() and end().
  void begin() { table_start_ = builder_.StartTable(); }
  Ref end() { return Ref(builder_.EndTable(table_start_)); }
  template <typename T>
  void scalar(int field, T value) {
    builder_.AddElement<T>(slot(field), value, T{0});
  }
  void refer(int field, Ref target) {
    if (!target.IsNull()) builder_.AddOffset(slot(field), target);
  }

  Ref text(const std::string& value) { return Ref(builder_.CreateString(value).o); }
  template <typename T>
  Ref list(const std::vector<T>& values) {
    return Ref(builder_.CreateVector(values).o);
  }
  // Each element as a table, then the vector of them.
  template <typename T>
  Ref tables(const std::vector<T>& values, Ref (Emitter::*emit)(const T&)) {
    std::vector<Ref> refs;
    refs.reserve(values.size());
    for (const T& value : values) refs.push_back((this->*emit)(value));
    return Ref(builder_.CreateVector(refs).o);
  }

  Ref plan(const ExecutionPlan& plan);
  Ref value(const Value& value);
  Ref value_table(const Value& value);
  Ref tensor(const Tensor& tensor);
  Ref chain(const Chain& chain);
  Ref instruction(const Instruction& instruction);
  Ref instruction_table(const Instruction& instruction);
  Ref operator_name(const Operator& name);
  Ref delegate(const BackendDelegate& delegate);
  Ref compile_spec(const CompileSpec& spec);
  Ref device(const BufferDevice& device);
  Ref container(const ContainerMetadata& container);
  Ref inline_data(const InlineData& data);
  Ref segment(const DataSegment& segment);
  Ref offsets(const SubsegmentOffsets& offsets);
  Ref named(const NamedData& named);
  Ref single(Ref content);
  template <typename T>
  Ref single_scalar(T content);
  Ref call(std::int32_t index, const std::vector<std::int32_t>& args);
  Ref words(std::int32_t first, std::int32_t second);

  flatbuffers::FlatBufferBuilder builder_;
  uoffset_t table_start_ = 0;
};

Ref Emitter::single(Ref content) {
  begin();
  refer(ValueField::kValue, content);
  return end();
}

template <typename T>
Ref Emitter::single_scalar(T content) {
  begin();
  scalar(ValueField::kValue, content);
  return end();
}

Ref Emitter::tensor(const Tensor& t) {
  const Ref sizes = list(t.sizes);
  const Ref dim_order = list(t.dim_order);
  Ref place, extra;
  if (t.allocation) {
    begin();
    scalar(AllocationField::kMemoryId, t.allocation->memory_id);
    scalar(AllocationField::kOffsetLow, static_cast<std::uint32_t>(t.allocation->offset_bytes));
    scalar(AllocationField::kOffsetHigh,
           static_cast<std::uint32_t>(t.allocation->offset_bytes >> 32));
    place = end();
  }
  if (t.extra) {
    const Ref name = text(t.extra->fully_qualified_name);
    begin();
    scalar(ExtraField::kMutableDataSegmentsIdx, t.extra->mutable_data_segments_idx);
    refer(ExtraField::kFullyQualifiedName, name);
    scalar(ExtraField::kLocation, t.extra->location);
    scalar(ExtraField::kDeviceType, t.extra->device_type);
    scalar(ExtraField::kDeviceIndex, t.extra->device_index);
    extra = end();
  }
  begin();
  scalar(TensorField::kScalarType, static_cast<std::int8_t>(t.scalar_type));
  scalar(TensorField::kStorageOffset, t.storage_offset);
  refer(TensorField::kSizes, sizes);
  refer(TensorField::kDimOrder, dim_order);
  scalar(TensorField::kRequiresGrad, static_cast<std::uint8_t>(t.requires_grad));
  scalar(TensorField::kDataBufferIdx, t.data_buffer_idx);
  refer(TensorField::kAllocationInfo, place);
  scalar(TensorField::kLayout, t.layout);
  scalar(TensorField::kShapeDynamism, static_cast<std::int8_t>(t.shape_dynamism));
  refer(TensorField::kExtraTensorInfo, extra);
  return end();
}

Ref Emitter::value_table(const Value& value) {
  if (const auto* v = std::get_if<std::int64_t>(&value)) return single_scalar(*v);
  if (const auto* v = std::get_if<bool>(&value)) return single_scalar<std::uint8_t>(*v);
  if (const auto* v = std::get_if<double>(&value)) return single_scalar(*v);
  if (const auto* v = std::get_if<Tensor>(&value)) return tensor(*v);
  if (const auto* v = std::get_if<std::string>(&value)) return single(text(*v));
  if (const auto* v = std::get_if<IntList>(&value)) return single(list(v->items));
  if (const auto* v = std::get_if<DoubleList>(&value)) return single(list(v->items));
  if (const auto* v = std::get_if<BoolList>(&value)) return single(list(v->items));
  if (const auto* v = std::get_if<TensorList>(&value)) return single(list(v->items));
  if (const auto* v = std::get_if<OptionalTensorList>(&value)) return single(list(v->items));
  begin();  // None
  return end();
}

Ref Emitter::value(const Value& value) {
  const Ref table = value_table(value);
  begin();
  scalar(UnionField::kType, static_cast<std::uint8_t>(value.index() + 1));
  refer(UnionField::kValue, table);
  return end();
}

Ref Emitter::call(std::int32_t index, const std::vector<std::int32_t>& args) {
  const Ref items = list(args);
  begin();
  scalar(CallField::kIndex, index);
  refer(CallField::kArgs, items);
  return end();
}

Ref Emitter::words(std::int32_t first, std::int32_t second) {
  begin();
  scalar(PairField::kFirst, first);
  scalar(PairField::kSecond, second);
  return end();
}

Ref Emitter::instruction_table(const Instruction& instruction) {
  if (const auto* c = std::get_if<KernelCall>(&instruction)) return call(c->op_index, c->args);
  if (const auto* c = std::get_if<DelegateCall>(&instruction)) {
    return call(c->delegate_index, c->args);
  }
  if (const auto* c = std::get_if<MoveCall>(&instruction)) return words(c->from, c->to);
  if (const auto* c = std::get_if<JumpFalseCall>(&instruction)) {
    return words(c->condition, c->destination);
  }
  return single_scalar(std::get<FreeCall>(instruction).value);
}

Ref Emitter::instruction(const Instruction& instruction) {
  const Ref table = instruction_table(instruction);
  begin();
  scalar(UnionField::kType, static_cast<std::uint8_t>(instruction.index() + 1));
  refer(UnionField::kValue, table);
  return end();
}

Ref Emitter::chain(const Chain& c) {
  const Ref inputs = list(c.inputs);
  const Ref outputs = list(c.outputs);
  const Ref instructions = tables(c.instructions, &Emitter::instruction);
  begin();
  refer(ChainField::kInputs, inputs);
  refer(ChainField::kOutputs, outputs);
  refer(ChainField::kInstructions, instructions);
  return end();
}

Ref Emitter::operator_name(const Operator& op) {
  const Ref name = text(op.name);
  const Ref overload = text(op.overload);
  begin();
  refer(PairField::kFirst, name);
  refer(PairField::kSecond, overload);
  return end();
}

Ref Emitter::compile_spec(const CompileSpec& spec) {
  const Ref key = text(spec.key);
  const Ref content = Ref(
      builder_
          .CreateVector(reinterpret_cast<const std::uint8_t*>(spec.value.data()), spec.value.size())
          .o);
  begin();
  refer(PairField::kFirst, key);
  refer(PairField::kSecond, content);
  return end();
}

Ref Emitter::delegate(const BackendDelegate& d) {
  const Ref id = text(d.id);
  begin();
  scalar(PairField::kFirst, static_cast<std::int8_t>(d.in_segment));
  scalar(PairField::kSecond, d.data_index);
  const Ref processed = end();
  const Ref specs = tables(d.compile_specs, &Emitter::compile_spec);
  begin();
  refer(DelegateField::kId, id);
  refer(DelegateField::kProcessed, processed);
  refer(DelegateField::kCompileSpecs, specs);
  return end();
}

Ref Emitter::device(const BufferDevice& d) {
  begin();
  scalar(DeviceField::kBufferIndex, d.buffer_index);
  scalar(DeviceField::kDeviceType, d.device_type);
  scalar(DeviceField::kDeviceIndex, d.device_index);
  return end();
}

Ref Emitter::container(const ContainerMetadata& c) {
  const Ref inputs = text(c.inputs);
  const Ref outputs = text(c.outputs);
  begin();
  refer(PairField::kFirst, inputs);
  refer(PairField::kSecond, outputs);
  return end();
}

Ref Emitter::inline_data(const InlineData& data) {
  builder_.ForceVectorAlignment(data.bytes.size(), 1, kProgramAlignment);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(data.bytes.data());
  return single(Ref(builder_.CreateVector(bytes, data.bytes.size()).o));
}

Ref Emitter::segment(const DataSegment& s) {
  begin();
  scalar(PairField::kFirst, s.offset_bytes);
  scalar(PairField::kSecond, s.size_bytes);
  return end();
}

Ref Emitter::offsets(const SubsegmentOffsets& s) {
  const Ref items = list(s.offsets);
  begin();
  scalar(PairField::kFirst, s.segment_index);
  refer(PairField::kSecond, items);
  return end();
}

Ref Emitter::named(const NamedData& n) {
  const Ref key = text(n.key);
  begin();
  refer(PairField::kFirst, key);
  scalar(PairField::kSecond, n.segment_index);
  return end();
}

Ref Emitter::plan(const ExecutionPlan& p) {
  const Ref name = text(p.name);
  const Ref metadata = p.container ? container(*p.container) : Ref();
  const Ref values = tables(p.values, &Emitter::value);
  const Ref inputs = list(p.inputs);
  const Ref outputs = list(p.outputs);
  const Ref chains = tables(p.chains, &Emitter::chain);
  const Ref operators = tables(p.operators, &Emitter::operator_name);
  const Ref delegates = tables(p.delegates, &Emitter::delegate);
  const Ref sizes = list(p.non_const_buffer_sizes);
  const Ref devices = p.non_const_buffer_devices.empty()
                          ? Ref()
                          : tables(p.non_const_buffer_devices, &Emitter::device);
  begin();
  refer(PlanField::kName, name);
  refer(PlanField::kContainerMetaType, metadata);
  refer(PlanField::kValues, values);
  refer(PlanField::kInputs, inputs);
  refer(PlanField::kOutputs, outputs);
  refer(PlanField::kChains, chains);
  refer(PlanField::kOperators, operators);
  refer(PlanField::kDelegates, delegates);
  refer(PlanField::kNonConstBufferSizes, sizes);
  refer(PlanField::kNonConstBufferDevice, devices);
  return end();
}

std::vector<std::byte> Emitter::emit(const Program& p) {
  const Ref plans = tables(p.execution_plans, &Emitter::plan);
  const Ref constants = tables(p.constant_buffer, &Emitter::inline_data);
  const Ref delegate_data = tables(p.backend_delegate_data, &Emitter::inline_data);
  const Ref segments = tables(p.segments, &Emitter::segment);
  const Ref constant_segment = p.constant_segment ? offsets(*p.constant_segment) : Ref();
  const Ref mutable_segments = tables(p.mutable_data_segments, &Emitter::offsets);
  const Ref named_data = tables(p.named_data, &Emitter::named);
  begin();
  scalar(ProgramField::kVersion, p.version);
  refer(ProgramField::kExecutionPlan, plans);
  refer(ProgramField::kConstantBuffer, constants);
  refer(ProgramField::kBackendDelegateData, delegate_data);
  refer(ProgramField::kSegments, segments);
  refer(ProgramField::kConstantSegment, constant_segment);
  refer(ProgramField::kMutableDataSegments, mutable_segments);
  refer(ProgramField::kNamedData, named_data);
  builder_.Finish(end(), kIdentifier);
  const auto* bytes = reinterpret_cast<const std::byte*>(builder_.GetBufferPointer());
  return {bytes, bytes + builder_.GetSize()};
}

}  // namespace

std::vector<std::byte> emit_flatbuffer(const Program& program) { return Emitter().emit(program); }

}  // namespace cria::pte
