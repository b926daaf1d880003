#include "npy.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <fstream>

namespace cria::cli {

Status write_npy(const std::string& path, std::span<const float> values) {
  // Format 1.0: magic, version, header length, then a Python dict padded with spaces to a multiple
  // of 64.
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", values.size());
  constexpr std::size_t kPreamble = 10;
  header.append(63 - (kPreamble + header.size()) % 64, ' ');
  header.push_back('\n');
  const auto length = static_cast<std::uint16_t>(header.size());
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write("\x93NUMPY\x01\x00", 8);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << header;
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size_bytes()));
  file.close();
  if (file) return {};
  std::remove(path.c_str());
  return Status(ErrorCode::kIo, fmt::format("{}: cannot write {} floats", path, values.size()));
}

}  // namespace cria::cli
