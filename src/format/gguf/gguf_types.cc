#include "format/gguf/gguf_types.h"

namespace cria {
namespace {

struct SupportedType {
  std::uint32_t number;
  StorageType type;
};
constexpr SupportedType kSupported[] = {
    {0, StorageType::kF32},    {1, StorageType::kF16},     {30, StorageType::kBF16},
    {8, StorageType::kQ8_0},   {2, StorageType::kQ4_0},    {3, StorageType::kQ4_1},
    {6, StorageType::kQ5_0},   {7, StorageType::kQ5_1},    {10, StorageType::kQ2_K},
    {11, StorageType::kQ3_K},  {12, StorageType::kQ4_K},   {13, StorageType::kQ5_K},
    {14, StorageType::kQ6_K},  {20, StorageType::kIQ4_NL}, {23, StorageType::kIQ4_XS},
    {39, StorageType::kMXFP4},
};

struct UnsupportedType {
  std::uint32_t number;
  const char* name;
};
constexpr UnsupportedType kUnsupported[] = {
    {4, "Q4_2 (removed)"},
    {5, "Q4_3 (removed)"},
    {9, "Q8_1"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {24, "I8"},
    {25, "I16"},
    {26, "I32"},
    {27, "I64"},
    {28, "F64"},
    {29, "IQ1_M"},
    {31, "Q4_0_4_4 (removed)"},
    {32, "Q4_0_4_8 (removed)"},
    {33, "Q4_0_8_8 (removed)"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {36, "IQ4_NL_4_4 (removed)"},
    {37, "IQ4_NL_4_8 (removed)"},
    {38, "IQ4_NL_8_8 (removed)"},
    {40, "NVFP4"},
    {41, "Q1_0"},
    {42, "Q2_0"},
};

}  // namespace

std::optional<StorageType> storage_type_from_gguf(std::uint32_t number) {
  for (const auto& entry : kSupported) {
    if (entry.number == number) return entry.type;
  }
  return std::nullopt;
}

std::uint32_t gguf_type_number(StorageType type) {
  for (const auto& entry : kSupported) {
    if (entry.type == type) return entry.number;
  }
  return UINT32_MAX;  // unreachable: the table has every enumerator
}

const char* gguf_unsupported_type_name(std::uint32_t number) {
  for (const auto& entry : kUnsupported) {
    if (entry.number == number) return entry.name;
  }
  return "unknown";
}

std::string supported_gguf_types() {
  std::string names;
  for (const auto& entry : kSupported) {
    if (!names.empty()) names += ", ";
    names += storage_spec(entry.type).name;
  }
  return names;
}

}  // namespace cria
