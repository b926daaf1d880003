// Tensor types by the number that GGUF gives them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tensor/storage_type.h"

namespace cria {

// nullopt: a number that ggml does not know, has removed, or that cria cannot carry.
std::optional<StorageType> storage_type_from_gguf(std::uint32_t number);

// The number of a type that cria reads.
std::uint32_t gguf_type_number(StorageType type);

// ggml's name of a type that cria does not read ("IQ2_XXS", "Q4_2 (removed)"), "unknown" otherwise.
const char* gguf_unsupported_type_name(std::uint32_t number);

// "F32, F16, ...": what storage_type_from_gguf accepts, for errors.
std::string supported_gguf_types();

}  // namespace cria
