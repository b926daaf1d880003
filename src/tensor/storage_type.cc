#include "tensor/storage_type.h"

#include <cassert>

namespace cria {
namespace {

constexpr StorageSpec kStorageTable[] = {
    {StorageType::kF32, "F32", 1, 4, Encoding::kF32},
    {StorageType::kF16, "F16", 1, 2, Encoding::kF16},
    {StorageType::kBF16, "BF16", 1, 2, Encoding::kBF16},
    {StorageType::kQ8_0, "Q8_0", 32, 34, Encoding::kQ8},
    {StorageType::kQ4_0, "Q4_0", 32, 18, Encoding::kQ4},
    {StorageType::kQ4_1, "Q4_1", 32, 20, Encoding::kQ4Min},
    {StorageType::kQ5_0, "Q5_0", 32, 22, Encoding::kQ5},
    {StorageType::kQ5_1, "Q5_1", 32, 24, Encoding::kQ5Min},
    {StorageType::kQ2_K, "Q2_K", 256, 84, Encoding::kQ2KMin},
    {StorageType::kQ3_K, "Q3_K", 256, 110, Encoding::kQ3K},
    {StorageType::kQ4_K, "Q4_K", 256, 144, Encoding::kQ4KMin},
    {StorageType::kQ5_K, "Q5_K", 256, 176, Encoding::kQ5KMin},
    {StorageType::kQ6_K, "Q6_K", 256, 210, Encoding::kQ6K},
    {StorageType::kIQ4_NL, "IQ4_NL", 32, 18, Encoding::kQ4Nl},
    {StorageType::kIQ4_XS, "IQ4_XS", 256, 136, Encoding::kQ4NlK},
    {StorageType::kMXFP4, "MXFP4", 32, 17, Encoding::kMxfp4},
};

}  // namespace

const StorageSpec& storage_spec(StorageType type) {
  return kStorageTable[static_cast<std::size_t>(type)];
}

std::size_t storage_row_bytes(StorageType type, std::int64_t n_cols) {
  const StorageSpec& spec = storage_spec(type);
  assert(n_cols % spec.block_elements == 0);
  return static_cast<std::size_t>(n_cols / spec.block_elements) * spec.block_bytes;
}

}  // namespace cria
