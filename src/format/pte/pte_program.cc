#include "format/pte/pte_program.h"

#include <algorithm>

namespace cria::pte {
namespace {

struct ScalarTypeSpec {
  ScalarType type;
  const char* name;
  std::size_t size_bytes;
};
constexpr ScalarTypeSpec kScalarTypes[] = {
    {ScalarType::kByte, "uint8", 1},        {ScalarType::kChar, "int8", 1},
    {ScalarType::kShort, "int16", 2},       {ScalarType::kInt, "int32", 4},
    {ScalarType::kLong, "int64", 8},        {ScalarType::kHalf, "float16", 2},
    {ScalarType::kFloat, "float32", 4},     {ScalarType::kDouble, "float64", 8},
    {ScalarType::kBool, "bool", 1},         {ScalarType::kQInt8, "qint8", 1},
    {ScalarType::kQUInt8, "quint8", 1},     {ScalarType::kQInt32, "qint32", 4},
    {ScalarType::kBFloat16, "bfloat16", 2}, {ScalarType::kUInt16, "uint16", 2},
    {ScalarType::kUInt32, "uint32", 4},     {ScalarType::kUInt64, "uint64", 8},
};

const ScalarTypeSpec* find_scalar_type(ScalarType type) {
  for (const ScalarTypeSpec& spec : kScalarTypes) {
    if (spec.type == type) return &spec;
  }
  return nullptr;
}

}  // namespace

const char* scalar_type_name(ScalarType type) {
  const ScalarTypeSpec* spec = find_scalar_type(type);
  return spec == nullptr ? "unknown" : spec->name;
}

std::size_t scalar_type_bytes(ScalarType type) {
  const ScalarTypeSpec* spec = find_scalar_type(type);
  return spec == nullptr ? 0 : spec->size_bytes;
}

std::optional<std::uint64_t> tensor_bytes(const Tensor& tensor) {
  std::uint64_t size_bytes = scalar_type_bytes(tensor.scalar_type);
  if (size_bytes == 0) return std::nullopt;
  for (const std::int32_t size : tensor.sizes) {
    if (size < 0) return std::nullopt;
    if (__builtin_mul_overflow(size_bytes, static_cast<std::uint64_t>(size), &size_bytes)) {
      return std::nullopt;
    }
  }
  return size_bytes;
}

const char* value_kind_name(const Value& value) {
  static constexpr const char* kNames[] = {"none",
                                           "int",
                                           "bool",
                                           "double",
                                           "tensor",
                                           "string",
                                           "int list",
                                           "double list",
                                           "bool list",
                                           "tensor list",
                                           "optional tensor list"};
  static_assert(std::size(kNames) == std::variant_size_v<Value>);
  return kNames[value.index()];
}

bool InlineData::operator==(const InlineData& other) const {
  return std::ranges::equal(bytes, other.bytes);
}

const ExecutionPlan* Program::find_method(std::string_view name) const {
  const auto found = std::ranges::find(execution_plans, name, &ExecutionPlan::name);
  return found == execution_plans.end() ? nullptr : &*found;
}

}  // namespace cria::pte
