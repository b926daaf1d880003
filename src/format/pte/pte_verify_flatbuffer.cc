// The tables of the format as data, and a walk over them.
#include <flatbuffers/flatbuffers.h>

#include <algorithm>

#include "format/pte/pte_flatbuffer.h"
#include "format/pte/pte_schema.h"

namespace cria::pte {
namespace {

using flatbuffers::Table;
using flatbuffers::Verifier;

enum class Kind : std::uint8_t {
  kScalar1,
  kScalar4,
  kScalar8,
  kString,
  kVector1,
  kVector4,
  kVector8,
  kTable,
  kTables,  // a vector of tables
  kUnion,   // the type at `id`, the value at `id + 1`; the table of type t is table[t - 1]
};

struct TableSpec;
struct FieldSpec {
  int id;
  Kind kind;
  const TableSpec* table = nullptr;
};
struct TableSpec {
  const char* name;
  std::span<const FieldSpec> fields;
};

// clang-format off
using enum Kind;
constexpr FieldSpec kContainerFields[] = {{0, kString}, {1, kString}};
constexpr FieldSpec kAllocationFields[] = {{0, kScalar4}, {1, kScalar4}, {2, kScalar4}};
constexpr FieldSpec kExtraFields[] = {{0, kScalar8}, {1, kString}, {2, kScalar1}, {3, kScalar1}, {4, kScalar1}};
constexpr TableSpec kContainer{"ContainerMetadata", kContainerFields};
constexpr TableSpec kAllocation{"AllocationDetails", kAllocationFields};
constexpr TableSpec kExtra{"ExtraTensorInfo", kExtraFields};
constexpr FieldSpec kTensorFields[] = {
    {0, kScalar1}, {1, kScalar4}, {2, kVector4}, {3, kVector1}, {4, kScalar1},
    {5, kScalar4}, {6, kTable, &kAllocation}, {7, kScalar1}, {8, kScalar1}, {9, kTable, &kExtra}};
constexpr FieldSpec kByteField[] = {{0, kScalar1}};
constexpr FieldSpec kWordField[] = {{0, kScalar4}};
constexpr FieldSpec kLongField[] = {{0, kScalar8}};
constexpr FieldSpec kStringField[] = {{0, kString}};
constexpr FieldSpec kBytesField[] = {{0, kVector1}};
constexpr FieldSpec kWordsField[] = {{0, kVector4}};
constexpr FieldSpec kLongsField[] = {{0, kVector8}};
constexpr TableSpec kValues[] = {
    {"Null", {}}, {"Int", kLongField}, {"Bool", kByteField}, {"Double", kLongField},
    {"Tensor", kTensorFields}, {"String", kStringField}, {"IntList", kLongsField},
    {"DoubleList", kLongsField}, {"BoolList", kBytesField}, {"TensorList", kWordsField},
    {"OptionalTensorList", kWordsField}};
constexpr FieldSpec kValueFields[] = {{0, kUnion, kValues}};
constexpr TableSpec kEValue{"EValue", kValueFields};
constexpr FieldSpec kCallFields[] = {{0, kScalar4}, {1, kVector4}};
constexpr FieldSpec kWordPairFields[] = {{0, kScalar4}, {1, kScalar4}};
constexpr TableSpec kInstructions[] = {
    {"KernelCall", kCallFields}, {"DelegateCall", kCallFields}, {"MoveCall", kWordPairFields},
    {"JumpFalseCall", kWordPairFields}, {"FreeCall", kWordField}};
constexpr FieldSpec kInstructionFields[] = {{0, kUnion, kInstructions}};
constexpr TableSpec kInstruction{"Instruction", kInstructionFields};
constexpr FieldSpec kChainFields[] = {{0, kVector4}, {1, kVector4}, {2, kTables, &kInstruction}};
constexpr TableSpec kChain{"Chain", kChainFields};
constexpr FieldSpec kOperatorFields[] = {{0, kString}, {1, kString}};
constexpr TableSpec kOperator{"Operator", kOperatorFields};
constexpr FieldSpec kReferenceFields[] = {{0, kScalar1}, {1, kScalar4}};
constexpr TableSpec kReference{"BackendDelegateDataReference", kReferenceFields};
constexpr FieldSpec kCompileSpecFields[] = {{0, kString}, {1, kVector1}};
constexpr TableSpec kCompileSpec{"CompileSpec", kCompileSpecFields};
constexpr FieldSpec kDelegateFields[] = {{0, kString}, {1, kTable, &kReference}, {2, kTables, &kCompileSpec}};
constexpr TableSpec kDelegate{"BackendDelegate", kDelegateFields};
constexpr FieldSpec kDeviceFields[] = {{0, kScalar4}, {1, kScalar1}, {2, kScalar1}};
constexpr TableSpec kDevice{"NonConstBufferDevice", kDeviceFields};
constexpr FieldSpec kPlanFields[] = {
    {0, kString}, {1, kTable, &kContainer}, {2, kTables, &kEValue}, {3, kVector4}, {4, kVector4},
    {5, kTables, &kChain}, {6, kTables, &kOperator}, {7, kTables, &kDelegate}, {8, kVector8},
    {9, kTables, &kDevice}};
constexpr TableSpec kPlan{"ExecutionPlan", kPlanFields};
constexpr TableSpec kInline{"BackendDelegateInlineData", kBytesField};
constexpr FieldSpec kSegmentFields[] = {{0, kScalar8}, {1, kScalar8}};
constexpr TableSpec kSegment{"DataSegment", kSegmentFields};
constexpr FieldSpec kOffsetsFields[] = {{0, kScalar4}, {1, kVector8}};
constexpr TableSpec kOffsets{"SubsegmentOffsets", kOffsetsFields};
constexpr FieldSpec kNamedFields[] = {{0, kString}, {1, kScalar4}};
constexpr TableSpec kNamed{"NamedData", kNamedFields};
constexpr FieldSpec kProgramFields[] = {
    {0, kScalar4}, {1, kTables, &kPlan}, {2, kTables, &kInline}, {3, kTables, &kInline},
    {4, kTables, &kSegment}, {5, kTable, &kOffsets}, {6, kTables, &kOffsets}, {7, kTables, &kNamed}};
constexpr TableSpec kProgram{"Program", kProgramFields};
// clang-format on

std::size_t n_union_types(const TableSpec* tables) {
  return tables == kValues ? std::size(kValues) : std::size(kInstructions);
}

bool verify_table(Verifier& verifier, const std::uint8_t* at, const TableSpec& spec, Status& error);

// A vector of offsets to tables: the vector, then each offset and its table.
bool verify_tables(Verifier& verifier, const std::uint8_t* at, const TableSpec& spec,
                   Status& error) {
  if (!verifier.VerifyVectorOrString(at, sizeof(flatbuffers::uoffset_t))) return false;
  const auto n_tables = flatbuffers::ReadScalar<flatbuffers::uoffset_t>(at);
  const std::uint8_t* element = at + sizeof(flatbuffers::uoffset_t);
  for (flatbuffers::uoffset_t i = 0; i < n_tables; ++i, element += sizeof(n_tables)) {
    const auto offset = verifier.VerifyOffset(element, 0);
    if (offset == 0 || !verify_table(verifier, element + offset, spec, error)) return false;
  }
  return true;
}

bool verify_union(Verifier& verifier, const Table* table, const FieldSpec& field, Status& error) {
  const auto type_slot = schema::slot(field.id);
  const auto value_slot = schema::slot(field.id + 1);
  if (!table->VerifyField<std::uint8_t>(verifier, type_slot, 1) ||
      !table->VerifyOffset(verifier, value_slot)) {
    return false;
  }
  const auto type = table->GetField<std::uint8_t>(type_slot, 0);
  const auto* value = table->GetPointer<const std::uint8_t*>(value_slot);
  if (type > n_union_types(field.table)) {
    error = unsupported("a value or instruction of type {}, known are 1 to {}", type,
                        n_union_types(field.table));
    return false;
  }
  // A type without a value, or the other way round, is no union.
  if ((type == 0) != (value == nullptr)) return false;
  return type == 0 || verify_table(verifier, value, field.table[type - 1], error);
}

bool verify_field(Verifier& verifier, const Table* table, const FieldSpec& field, Status& error) {
  const auto slot = schema::slot(field.id);
  switch (field.kind) {
    case kScalar1:
      return table->VerifyField<std::uint8_t>(verifier, slot, 1);
    case kScalar4:
      return table->VerifyField<std::uint32_t>(verifier, slot, 4);
    case kScalar8:
      return table->VerifyField<std::uint64_t>(verifier, slot, 8);
    case kUnion:
      return verify_union(verifier, table, field, error);
    default:
      break;
  }
  if (!table->VerifyOffset(verifier, slot)) return false;
  const auto* at = table->GetPointer<const std::uint8_t*>(slot);
  if (at == nullptr) return true;  // absent
  switch (field.kind) {
    case kString:
      return verifier.VerifyString(reinterpret_cast<const flatbuffers::String*>(at));
    case kVector1:
      return verifier.VerifyVectorOrString(at, 1);
    case kVector4:
      return verifier.VerifyVectorOrString(at, 4);
    case kVector8:
      return verifier.VerifyVectorOrString(at, 8);
    case kTable:
      return verify_table(verifier, at, *field.table, error);
    default:
      return verify_tables(verifier, at, *field.table, error);
  }
}

bool verify_table(Verifier& verifier, const std::uint8_t* at, const TableSpec& spec,
                  Status& error) {
  const auto* table = reinterpret_cast<const Table*>(at);
  if (!table->VerifyTableStart(verifier)) {
    if (error.ok()) error = bad_input("a {} table is damaged, or there are too many", spec.name);
    return false;
  }
  for (const FieldSpec& field : spec.fields) {
    if (verify_field(verifier, table, field, error)) continue;
    if (error.ok()) error = bad_input("field {} of a {} table is damaged", field.id, spec.name);
    return false;
  }
  return verifier.EndTable();
}

}  // namespace

Status verify_flatbuffer(std::span<const std::byte> bytes) {
  Verifier::Options options;
  // Tables that share nothing take four bytes at least. A file that lets many references share one
  // table could otherwise take far longer to walk than to read.
  options.max_tables = static_cast<flatbuffers::uoffset_t>(
      std::min<std::size_t>(options.max_tables, bytes.size() / 4));
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  Verifier verifier(data, bytes.size(), options);
  const auto root = verifier.VerifyOffset(0);
  Status error;
  if (root == 0) return bad_input("the root is out of range");
  if (!verify_table(verifier, data + root, kProgram, error)) return error;
  return {};
}

}  // namespace cria::pte
