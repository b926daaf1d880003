// Programs for tests: a spec and its named data, written to a file that goes away.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "format/pte/program_builder.h"

namespace cria {

// A path of its own for each test; the file is removed at the end.
class TemporaryFile {
 public:
  TemporaryFile() {
    static int n_files = 0;
    path_ = ::testing::TempDir() + "cria_" + std::to_string(getpid()) + "_" +
            std::to_string(n_files++) + ".pte";
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Fills in spec.named_data from `data` and writes the program.
inline Status write_program(const std::string& path, pte::ProgramSpec spec,
                            const std::map<std::string, std::vector<std::byte>>& data) {
  spec.named_data.clear();
  for (const auto& [key, bytes] : data) spec.named_data.push_back({key, bytes.size()});
  CRIA_ASSIGN_OR_RETURN(pte::PteWriter writer, pte::start_program(path, spec));
  std::size_t index = 0;
  for (const auto& [key, bytes] : data) {
    const std::uint32_t segment = writer.program().named_data[index++].segment_index;
    CRIA_RETURN_IF_ERROR(writer.append(segment, bytes));
  }
  return writer.finish();
}

}  // namespace cria
