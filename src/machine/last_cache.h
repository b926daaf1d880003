// The cache before memory.
#pragma once

#include <cstdint>
#include <filesystem>

namespace cria {

// Bytes of the last caches of all processors together; 0 where the system does not tell. Asked of
// Linux itself: glibc's sysconf is off by the number of cores of some processors.
std::uint64_t last_cache_bytes(
    const std::filesystem::path& folder = "/sys/devices/system/cpu");  // cpu0, cpu1, ...

}  // namespace cria
