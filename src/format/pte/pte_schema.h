// The tables of the format: which field has which number. Shared by emitting and parsing.
//
// Source: the schema of ExecuTorch (schema/program.fbs, identifier ET12). A flatbuffers table
// numbers its fields from 0 in the order of declaration; a union takes two numbers, its type and
// its value.
#pragma once

#include <cstdint>

namespace cria::pte::schema {

inline constexpr char kIdentifier[] = "ET12";
inline constexpr std::uint32_t kProgramVersion = 0;

// Where a field is in a table's vtable, in bytes: after the two sizes that it starts with.
constexpr std::uint16_t slot(int field) { return static_cast<std::uint16_t>(4 + 2 * field); }

struct ProgramField {
  enum : std::uint8_t {
    kVersion = 0,
    kExecutionPlan = 1,
    kConstantBuffer = 2,
    kBackendDelegateData = 3,
    kSegments = 4,
    kConstantSegment = 5,
    kMutableDataSegments = 6,
    kNamedData = 7,
  };
};

struct PlanField {
  enum : std::uint8_t {
    kName = 0,
    kContainerMetaType = 1,
    kValues = 2,
    kInputs = 3,
    kOutputs = 4,
    kChains = 5,
    kOperators = 6,
    kDelegates = 7,
    kNonConstBufferSizes = 8,
    kNonConstBufferDevice = 9,
  };
};

struct TensorField {
  enum : std::uint8_t {
    kScalarType = 0,
    kStorageOffset = 1,
    kSizes = 2,
    kDimOrder = 3,
    kRequiresGrad = 4,
    kDataBufferIdx = 5,
    kAllocationInfo = 6,
    kLayout = 7,
    kShapeDynamism = 8,
    kExtraTensorInfo = 9,
  };
};

struct AllocationField {
  enum : std::uint8_t { kMemoryId = 0, kOffsetLow = 1, kOffsetHigh = 2 };
};

struct ExtraField {
  enum : std::uint8_t {
    kMutableDataSegmentsIdx = 0,
    kFullyQualifiedName = 1,
    kLocation = 2,
    kDeviceType = 3,
    kDeviceIndex = 4,
  };
};

// Tables with few fields, by position.
struct UnionField {  // EValue, Instruction
  enum : std::uint8_t { kType = 0, kValue = 1 };
};
struct ValueField {  // Int, Bool, Double, String, IntList, DoubleList, BoolList, TensorList, ...
  enum : std::uint8_t { kValue = 0 };
};
struct CallField {  // KernelCall, DelegateCall
  enum : std::uint8_t { kIndex = 0, kArgs = 1 };
};
struct PairField {  // MoveCall, JumpFalseCall, FreeCall (first only), ContainerMetadata, Operator,
                    // CompileSpec, DataSegment, SubsegmentOffsets, NamedData,
                    // BackendDelegateDataReference
  enum : std::uint8_t { kFirst = 0, kSecond = 1 };
};
struct ChainField {
  enum : std::uint8_t { kInputs = 0, kOutputs = 1, kInstructions = 2, kStacktrace = 3 };
};
struct DelegateField {
  enum : std::uint8_t { kId = 0, kProcessed = 1, kCompileSpecs = 2 };
};
struct DeviceField {
  enum : std::uint8_t { kBufferIndex = 0, kDeviceType = 1, kDeviceIndex = 2 };
};

enum ValueType : std::uint8_t {
  kNoValue = 0,
  kNull = 1,
  kInt = 2,
  kBool = 3,
  kDouble = 4,
  kTensor = 5,
  kString = 6,
  kIntList = 7,
  kDoubleList = 8,
  kBoolList = 9,
  kTensorList = 10,
  kOptionalTensorList = 11,
};

enum InstructionType : std::uint8_t {
  kKernelCall = 1,
  kDelegateCall = 2,
  kMoveCall = 3,
  kJumpFalseCall = 4,
  kFreeCall = 5,
};

// The extended header, which stands between the flatbuffer's identifier and its contents.
inline constexpr char kHeaderMagic[] = "eh00";
inline constexpr std::size_t kHeaderOffset = 8;
inline constexpr std::uint32_t kHeaderBytes = 32;            // magic, length, three sizes
inline constexpr std::uint32_t kHeaderBytesMin = 24;         // before segment_data_size was added
inline constexpr std::size_t kProgramAlignment = 16;         // of data inside the program
inline constexpr std::uint64_t kMaxProgramBytes = 1u << 30;  // flatbuffers' own limit is 2 GiB

}  // namespace cria::pte::schema
