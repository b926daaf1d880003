// How much memory this process occupies, as the operating system counts it.
#pragma once

#include <cstdint>
#include <string_view>

namespace cria {

// Zeros where the system does not tell.
struct ProcessMemory {
  std::uint64_t rss_anon_bytes = 0;  // its own: heap, caches, stacks
  std::uint64_t rss_file_bytes = 0;  // pages of mapped files (weights), shared with the page cache
};

ProcessMemory process_memory();
// The same from the text of /proc/self/status.
ProcessMemory parse_process_status(std::string_view text);

}  // namespace cria
