// The parts of `inspect`: one describer a kind of file.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "base/mapped_file.h"
#include "base/result.h"

namespace cria {

struct NpuCommands;

// Whether the bytes begin as an ExecuTorch program does.
bool is_pte(std::span<const std::byte> bytes);

// Whether there is a file at `path` that begins so.
bool is_program_file(const std::string& path);

// What a stream of NPU commands is, without the commands.
nlohmann::ordered_json npu_commands_json(const NpuCommands& commands);

// {"kind": "pte", ...} as text.
Result<std::string> inspect_pte(const MappedFile& file);

// JSON as text; bytes that are not UTF-8 (names in files of others) become U+FFFD.
std::string json_text(const nlohmann::ordered_json& json);

}  // namespace cria
