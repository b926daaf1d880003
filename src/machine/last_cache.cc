#include "machine/last_cache.h"

#include <fmt/format.h>

#include <fstream>
#include <set>
#include <string>

namespace cria {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "32768K".
std::uint64_t bytes_of(const std::string& size) {
  std::uint64_t kilobytes = 0;
  for (const char c : size) {
    if (c < '0' || c > '9' || kilobytes > (std::uint64_t{1} << 40)) break;
    kilobytes = 10 * kilobytes + static_cast<std::uint64_t>(c - '0');
  }
  return 1024 * kilobytes;
}

}  // namespace

std::uint64_t last_cache_bytes(const std::filesystem::path& folder) {
  std::error_code error;
  std::uint64_t bytes = 0;
  std::set<std::string> seen;  // lists of processors that share a cache
  for (int cpu = 0;; ++cpu) {
    const std::filesystem::path caches = folder / fmt::format("cpu{}", cpu) / "cache";
    if (!std::filesystem::exists(caches, error)) return bytes;
    int last = 0;
    while (std::filesystem::exists(caches / fmt::format("index{}", last + 1), error)) ++last;
    const std::filesystem::path cache = caches / fmt::format("index{}", last);
    if (seen.insert(first_line(cache / "shared_cpu_list")).second) {
      bytes += bytes_of(first_line(cache / "size"));
    }
  }
}

}  // namespace cria
