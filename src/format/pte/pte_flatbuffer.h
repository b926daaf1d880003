// Between the bytes of a program and its structs.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/result.h"
#include "format/pte/pte_program.h"

namespace cria::pte {

// Checks that every table, vector and string reachable from the root lies inside `bytes`, within
// limits on their number, so that it can be walked. `bytes` starts with the root offset and the
// identifier; aligned to 16. Fails with kBadInput, naming the field.
Status verify_flatbuffer(std::span<const std::byte> bytes);

// The program in verified bytes. `bytes` must outlive the result's inline data. Fails with
// kUnsupported when it uses what this reader does not know, kBadInput when it repeats itself so
// often that its structs would be far larger than the file.
Result<Program> parse_flatbuffer(std::span<const std::byte> bytes);

// The program as a flatbuffer, without an extended header. REQUIRES: inline data and all else
// together are below schema::kMaxProgramBytes.
std::vector<std::byte> emit_flatbuffer(const Program& program);

}  // namespace cria::pte
