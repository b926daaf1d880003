// An ExecuTorch program as plain structs: what a `.pte` says about itself, without its data.
//
// The structs mirror the tables of the format (docs/pte.md has the field ids), so that any `.pte`
// can be described, whoever made it. Not carried: stack traces, which are for debuggers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cria::pte {

// Element types of tensors. Other numbers are carried as they are (kUInt2x4 and the like); they
// have no name and no size here.
enum class ScalarType : std::int8_t {
  kByte = 0,  // unsigned
  kChar = 1,  // signed
  kShort = 2,
  kInt = 3,
  kLong = 4,
  kHalf = 5,
  kFloat = 6,
  kDouble = 7,
  kBool = 11,
  kQInt8 = 12,
  kQUInt8 = 13,
  kQInt32 = 14,
  kBFloat16 = 15,
  kUInt16 = 27,
  kUInt32 = 28,
  kUInt64 = 29,
};
const char* scalar_type_name(ScalarType type);   // "float32", ...; "unknown"
std::size_t scalar_type_bytes(ScalarType type);  // 0: not known

enum class ShapeDynamism : std::int8_t {
  kStatic = 0,
  kDynamicBound = 1,  // the sizes are upper bounds
  kDynamicUnbound = 2,
};

// A place in one of the method's arenas (ExecutionPlan::non_const_buffer_sizes).
struct AllocationInfo {
  std::uint32_t memory_id = 0;  // from 1
  std::uint64_t offset_bytes = 0;
  bool operator==(const AllocationInfo&) const = default;
};

struct ExtraTensorInfo {
  std::uint64_t mutable_data_segments_idx = 0;
  std::string fully_qualified_name;
  std::int8_t location = 0;  // 0 in a segment, 1 in another file
  std::int8_t device_type = 0;
  std::int8_t device_index = 0;
  bool operator==(const ExtraTensorInfo&) const = default;
};

struct Tensor {
  ScalarType scalar_type = ScalarType::kByte;
  std::int32_t storage_offset = 0;
  std::vector<std::int32_t> sizes;
  std::vector<std::uint8_t> dim_order;
  bool requires_grad = false;
  std::uint32_t data_buffer_idx = 0;         // 0: no constant or initial data
  std::optional<AllocationInfo> allocation;  // none: constant, or the caller supplies the memory
  std::int8_t layout = 0;
  ShapeDynamism shape_dynamism = ShapeDynamism::kStatic;
  std::optional<ExtraTensorInfo> extra;
  bool operator==(const Tensor&) const = default;
};
// Bytes of the tensor at its (largest) sizes; nullopt on overflow, negative sizes or an element
// type whose size is not known.
std::optional<std::uint64_t> tensor_bytes(const Tensor& tensor);

struct None {
  bool operator==(const None&) const = default;
};
struct TensorList {
  std::vector<std::int32_t> items;  // indices of values
  bool operator==(const TensorList&) const = default;
};
struct OptionalTensorList {
  std::vector<std::int32_t> items;  // indices of values, -1 for none
  bool operator==(const OptionalTensorList&) const = default;
};
struct IntList {
  std::vector<std::int64_t> items;  // indices of values that are integers
  bool operator==(const IntList&) const = default;
};
struct DoubleList {
  std::vector<double> items;
  bool operator==(const DoubleList&) const = default;
};
struct BoolList {
  std::vector<std::uint8_t> items;
  bool operator==(const BoolList&) const = default;
};
// In the order of the format: index() + 1 is the type number in the file.
using Value = std::variant<None, std::int64_t, bool, double, Tensor, std::string, IntList,
                           DoubleList, BoolList, TensorList, OptionalTensorList>;
const char* value_kind_name(const Value& value);  // "tensor", "int", ...

struct Operator {
  std::string name;
  std::string overload;
  bool operator==(const Operator&) const = default;
};

struct KernelCall {
  std::int32_t op_index = 0;
  std::vector<std::int32_t> args;
  bool operator==(const KernelCall&) const = default;
};
struct DelegateCall {
  std::int32_t delegate_index = 0;
  std::vector<std::int32_t> args;
  bool operator==(const DelegateCall&) const = default;
};
struct MoveCall {
  std::int32_t from = 0;
  std::int32_t to = 0;
  bool operator==(const MoveCall&) const = default;
};
struct JumpFalseCall {
  std::int32_t condition = 0;
  std::int32_t destination = 0;  // an instruction of the same chain
  bool operator==(const JumpFalseCall&) const = default;
};
struct FreeCall {
  std::int32_t value = 0;
  bool operator==(const FreeCall&) const = default;
};
// In the order of the format, like Value.
using Instruction = std::variant<KernelCall, DelegateCall, MoveCall, JumpFalseCall, FreeCall>;

struct Chain {
  std::vector<std::int32_t> inputs;
  std::vector<std::int32_t> outputs;
  std::vector<Instruction> instructions;
  bool operator==(const Chain&) const = default;
};

struct CompileSpec {
  std::string key;
  std::vector<std::byte> value;
  bool operator==(const CompileSpec&) const = default;
};

struct BackendDelegate {
  std::string id;  // "CriaCpuBackend"
  bool in_segment = true;
  std::uint32_t data_index = 0;  // in Program::segments, else in Program::backend_delegate_data
  std::vector<CompileSpec> compile_specs;
  bool operator==(const BackendDelegate&) const = default;
};

struct BufferDevice {
  std::int32_t buffer_index = 0;
  std::int8_t device_type = 0;
  std::int8_t device_index = 0;
  bool operator==(const BufferDevice&) const = default;
};

// How a Python caller's arguments are nested; kept as it is.
struct ContainerMetadata {
  std::string inputs;
  std::string outputs;
  bool operator==(const ContainerMetadata&) const = default;
};

// One method.
struct ExecutionPlan {
  std::string name;
  std::optional<ContainerMetadata> container;
  std::vector<Value> values;
  std::vector<std::int32_t> inputs;   // indices of values
  std::vector<std::int32_t> outputs;  // indices of values
  std::vector<Chain> chains;
  std::vector<Operator> operators;
  std::vector<BackendDelegate> delegates;
  std::vector<std::int64_t> non_const_buffer_sizes;  // arena sizes in bytes; [0] is not used
  std::vector<BufferDevice> non_const_buffer_devices;
  bool operator==(const ExecutionPlan&) const = default;
};

// Data inside the program itself. Not owned: a reader's file, or the writer's caller.
struct InlineData {
  std::span<const std::byte> bytes;
  bool operator==(const InlineData& other) const;  // compares contents
};

struct DataSegment {
  std::uint64_t offset_bytes = 0;  // from the file's first segment
  std::uint64_t size_bytes = 0;
  bool operator==(const DataSegment&) const = default;
};

// Data of many tensors in one segment; a tensor's data_buffer_idx picks an offset.
struct SubsegmentOffsets {
  std::uint32_t segment_index = 0;
  std::vector<std::uint64_t> offsets;  // [0] stands for "no data"
  bool operator==(const SubsegmentOffsets&) const = default;
};

struct NamedData {
  std::string key;
  std::uint32_t segment_index = 0;
  bool operator==(const NamedData&) const = default;
};

struct Program {
  std::uint32_t version = 0;
  std::vector<ExecutionPlan> execution_plans;
  std::vector<InlineData> constant_buffer;  // of files before the constant segment
  std::vector<InlineData> backend_delegate_data;
  std::vector<DataSegment> segments;
  std::optional<SubsegmentOffsets> constant_segment;
  std::vector<SubsegmentOffsets> mutable_data_segments;
  std::vector<NamedData> named_data;
  bool operator==(const Program&) const = default;

  // The method of that name, or nullptr.
  const ExecutionPlan* find_method(std::string_view name) const;
};

}  // namespace cria::pte
