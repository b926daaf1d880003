// Verified flatbuffer -> structs.
#include <flatbuffers/flatbuffers.h>

#include <cstring>

#include "format/pte/pte_flatbuffer.h"
#include "format/pte/pte_schema.h"

namespace cria::pte {
namespace {

using flatbuffers::Table;
using namespace schema;

// How much larger than the program the copies of its texts and lists may be: a valid program
// refers to each of them once.
constexpr std::size_t kMaxCopies = 8;

class Parser {
 public:
  explicit Parser(std::span<const std::byte> bytes)
      : bytes_(bytes), budget_bytes_(kMaxCopies * bytes.size()) {}

  Result<Program> parse();

 private:
  template <typename T>
  T scalar(const Table* table, int field, T absent = 0) const {
    return table->GetField<T>(slot(field), absent);
  }
  const Table* child(const Table* table, int field) const {
    return table->GetPointer<const Table*>(slot(field));
  }
  // The elements of a vector or string in place; their number is in `count`.
  const std::byte* elements(const Table* table, int field, std::size_t& count) const;
  template <typename T>
  std::vector<T> list(const Table* table, int field);
  std::string text(const Table* table, int field);
  std::span<const std::byte> inline_bytes(const Table* table, int field) const;
  template <typename T>
  std::vector<T> tables(const Table* table, int field, T (Parser::*parse)(const Table*));

  ExecutionPlan plan(const Table* table);
  Value value(const Table* table);
  Tensor tensor(const Table* table);
  Chain chain(const Table* table);
  Instruction instruction(const Table* table);
  Operator operator_name(const Table* table);
  BackendDelegate delegate(const Table* table);
  CompileSpec compile_spec(const Table* table);
  BufferDevice device(const Table* table);
  InlineData inline_data(const Table* table);
  DataSegment segment(const Table* table);
  SubsegmentOffsets offsets(const Table* table);
  NamedData named(const Table* table);

  bool spend(std::size_t size_bytes);

  std::span<const std::byte> bytes_;
  std::size_t budget_bytes_;
  Status error_;
};

bool Parser::spend(std::size_t size_bytes) {
  if (size_bytes > budget_bytes_) {
    error_ = bad_input("the same texts and lists are used over and over");
    budget_bytes_ = 0;
    return false;
  }
  budget_bytes_ -= size_bytes;
  return true;
}

const std::byte* Parser::elements(const Table* table, int field, std::size_t& count) const {
  const auto* at = table->GetPointer<const std::uint8_t*>(slot(field));
  count = at == nullptr ? 0 : flatbuffers::ReadScalar<flatbuffers::uoffset_t>(at);
  return reinterpret_cast<const std::byte*>(at) + (at == nullptr ? 0 : sizeof(std::uint32_t));
}

template <typename T>
std::vector<T> Parser::list(const Table* table, int field) {
  std::size_t count = 0;
  const std::byte* from = elements(table, field, count);
  std::vector<T> values;
  if (count == 0 || !spend(count * sizeof(T))) return values;
  values.resize(count);
  std::memcpy(values.data(), from, count * sizeof(T));  // 8-byte elements may be unaligned
  return values;
}

std::string Parser::text(const Table* table, int field) {
  const std::vector<char> characters = list<char>(table, field);
  return std::string(characters.begin(), characters.end());
}

std::span<const std::byte> Parser::inline_bytes(const Table* table, int field) const {
  std::size_t count = 0;
  const std::byte* from = elements(table, field, count);
  return {from, count};
}

template <typename T>
std::vector<T> Parser::tables(const Table* table, int field, T (Parser::*parse)(const Table*)) {
  const auto* vector =
      table->GetPointer<const flatbuffers::Vector<flatbuffers::Offset<Table>>*>(slot(field));
  std::vector<T> parsed;
  if (vector == nullptr) return parsed;
  parsed.reserve(vector->size());
  for (flatbuffers::uoffset_t i = 0; i < vector->size(); ++i) {
    parsed.push_back((this->*parse)(vector->Get(i)));
  }
  return parsed;
}

Tensor Parser::tensor(const Table* table) {
  Tensor t;
  t.scalar_type = ScalarType{scalar<std::int8_t>(table, TensorField::kScalarType)};
  t.storage_offset = scalar<std::int32_t>(table, TensorField::kStorageOffset);
  t.sizes = list<std::int32_t>(table, TensorField::kSizes);
  t.dim_order = list<std::uint8_t>(table, TensorField::kDimOrder);
  t.requires_grad = scalar<std::uint8_t>(table, TensorField::kRequiresGrad) != 0;
  t.data_buffer_idx = scalar<std::uint32_t>(table, TensorField::kDataBufferIdx);
  if (const Table* place = child(table, TensorField::kAllocationInfo)) {
    const std::uint64_t high = scalar<std::uint32_t>(place, AllocationField::kOffsetHigh);
    t.allocation = AllocationInfo{
        .memory_id = scalar<std::uint32_t>(place, AllocationField::kMemoryId),
        .offset_bytes = high << 32 | scalar<std::uint32_t>(place, AllocationField::kOffsetLow)};
  }
  t.layout = scalar<std::int8_t>(table, TensorField::kLayout);
  t.shape_dynamism = ShapeDynamism{scalar<std::int8_t>(table, TensorField::kShapeDynamism)};
  if (const Table* extra = child(table, TensorField::kExtraTensorInfo)) {
    t.extra = ExtraTensorInfo{.mutable_data_segments_idx =
                                  scalar<std::uint64_t>(extra, ExtraField::kMutableDataSegmentsIdx),
                              .fully_qualified_name = text(extra, ExtraField::kFullyQualifiedName),
                              .location = scalar<std::int8_t>(extra, ExtraField::kLocation),
                              .device_type = scalar<std::int8_t>(extra, ExtraField::kDeviceType),
                              .device_index = scalar<std::int8_t>(extra, ExtraField::kDeviceIndex)};
  }
  return t;
}

Value Parser::value(const Table* table) {
  const auto type = scalar<std::uint8_t>(table, UnionField::kType);
  const Table* v = child(table, UnionField::kValue);
  switch (type) {
    case kInt:
      return scalar<std::int64_t>(v, ValueField::kValue);
    case kBool:
      return scalar<std::uint8_t>(v, ValueField::kValue) != 0;
    case kDouble:
      return scalar<double>(v, ValueField::kValue);
    case kTensor:
      return tensor(v);
    case kString:
      return text(v, ValueField::kValue);
    case kIntList:
      return IntList{list<std::int64_t>(v, ValueField::kValue)};
    case kDoubleList:
      return DoubleList{list<double>(v, ValueField::kValue)};
    case kBoolList:
      return BoolList{list<std::uint8_t>(v, ValueField::kValue)};
    case kTensorList:
      return TensorList{list<std::int32_t>(v, ValueField::kValue)};
    case kOptionalTensorList:
      return OptionalTensorList{list<std::int32_t>(v, ValueField::kValue)};
    default:  // kNull, or no value at all
      return None{};
  }
}

Instruction Parser::instruction(const Table* table) {
  const auto type = scalar<std::uint8_t>(table, UnionField::kType);
  const Table* call = child(table, UnionField::kValue);
  switch (type) {
    case kKernelCall:
      return KernelCall{scalar<std::int32_t>(call, CallField::kIndex),
                        list<std::int32_t>(call, CallField::kArgs)};
    case kDelegateCall:
      return DelegateCall{scalar<std::int32_t>(call, CallField::kIndex),
                          list<std::int32_t>(call, CallField::kArgs)};
    case kMoveCall:
      return MoveCall{scalar<std::int32_t>(call, PairField::kFirst),
                      scalar<std::int32_t>(call, PairField::kSecond)};
    case kJumpFalseCall:
      return JumpFalseCall{scalar<std::int32_t>(call, PairField::kFirst),
                           scalar<std::int32_t>(call, PairField::kSecond)};
    case kFreeCall:
      return FreeCall{scalar<std::int32_t>(call, PairField::kFirst)};
    default:
      error_ = bad_input("an instruction that is empty");
      return FreeCall{};
  }
}

Chain Parser::chain(const Table* table) {
  return {.inputs = list<std::int32_t>(table, ChainField::kInputs),
          .outputs = list<std::int32_t>(table, ChainField::kOutputs),
          .instructions = tables(table, ChainField::kInstructions, &Parser::instruction)};
}

Operator Parser::operator_name(const Table* table) {
  return {.name = text(table, PairField::kFirst), .overload = text(table, PairField::kSecond)};
}

CompileSpec Parser::compile_spec(const Table* table) {
  return {.key = text(table, PairField::kFirst),
          .value = list<std::byte>(table, PairField::kSecond)};
}

BackendDelegate Parser::delegate(const Table* table) {
  BackendDelegate d;
  d.id = text(table, DelegateField::kId);
  if (const Table* processed = child(table, DelegateField::kProcessed)) {
    d.in_segment = scalar<std::int8_t>(processed, PairField::kFirst) != 0;
    d.data_index = scalar<std::uint32_t>(processed, PairField::kSecond);
  } else {
    error_ = bad_input("a delegate that refers to no data");
  }
  d.compile_specs = tables(table, DelegateField::kCompileSpecs, &Parser::compile_spec);
  return d;
}

BufferDevice Parser::device(const Table* table) {
  return {.buffer_index = scalar<std::int32_t>(table, DeviceField::kBufferIndex),
          .device_type = scalar<std::int8_t>(table, DeviceField::kDeviceType),
          .device_index = scalar<std::int8_t>(table, DeviceField::kDeviceIndex)};
}

InlineData Parser::inline_data(const Table* table) {
  return {inline_bytes(table, ValueField::kValue)};
}

DataSegment Parser::segment(const Table* table) {
  return {.offset_bytes = scalar<std::uint64_t>(table, PairField::kFirst),
          .size_bytes = scalar<std::uint64_t>(table, PairField::kSecond)};
}

SubsegmentOffsets Parser::offsets(const Table* table) {
  return {.segment_index = scalar<std::uint32_t>(table, PairField::kFirst),
          .offsets = list<std::uint64_t>(table, PairField::kSecond)};
}

NamedData Parser::named(const Table* table) {
  return {.key = text(table, PairField::kFirst),
          .segment_index = scalar<std::uint32_t>(table, PairField::kSecond)};
}

ExecutionPlan Parser::plan(const Table* table) {
  ExecutionPlan p;
  p.name = text(table, PlanField::kName);
  if (const Table* container = child(table, PlanField::kContainerMetaType)) {
    p.container = ContainerMetadata{.inputs = text(container, PairField::kFirst),
                                    .outputs = text(container, PairField::kSecond)};
  }
  p.values = tables(table, PlanField::kValues, &Parser::value);
  p.inputs = list<std::int32_t>(table, PlanField::kInputs);
  p.outputs = list<std::int32_t>(table, PlanField::kOutputs);
  p.chains = tables(table, PlanField::kChains, &Parser::chain);
  p.operators = tables(table, PlanField::kOperators, &Parser::operator_name);
  p.delegates = tables(table, PlanField::kDelegates, &Parser::delegate);
  p.non_const_buffer_sizes = list<std::int64_t>(table, PlanField::kNonConstBufferSizes);
  p.non_const_buffer_devices = tables(table, PlanField::kNonConstBufferDevice, &Parser::device);
  return p;
}

Result<Program> Parser::parse() {
  const auto* root = flatbuffers::GetRoot<Table>(bytes_.data());
  Program p;
  p.version = scalar<std::uint32_t>(root, ProgramField::kVersion);
  if (p.version != kProgramVersion) {
    return unsupported("program version {}, this build reads version {}", p.version,
                       kProgramVersion);
  }
  p.execution_plans = tables(root, ProgramField::kExecutionPlan, &Parser::plan);
  p.constant_buffer = tables(root, ProgramField::kConstantBuffer, &Parser::inline_data);
  p.backend_delegate_data = tables(root, ProgramField::kBackendDelegateData, &Parser::inline_data);
  p.segments = tables(root, ProgramField::kSegments, &Parser::segment);
  if (const Table* constants = child(root, ProgramField::kConstantSegment)) {
    p.constant_segment = offsets(constants);
  }
  p.mutable_data_segments = tables(root, ProgramField::kMutableDataSegments, &Parser::offsets);
  p.named_data = tables(root, ProgramField::kNamedData, &Parser::named);
  if (!error_.ok()) return error_;
  return p;
}

}  // namespace

Result<Program> parse_flatbuffer(std::span<const std::byte> bytes) { return Parser(bytes).parse(); }

}  // namespace cria::pte
