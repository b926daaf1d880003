// Test support: fuzz inputs as changes to a valid file, so that random bytes get past the header.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace cria {

// Calls `function` with the input as it is, then with `valid` after each change that the input
// encodes: four bytes are an offset (two bytes, modulo the size), an operation and its operand.
// Every fourth change starts from `valid` again, so that files with few faults are common.
template <typename Function>
void for_each_patched(const std::string& valid, std::span<const std::uint8_t> input,
                      Function&& function) {
  const auto call = [&](const char* data, std::size_t size) {
    // An exact copy, so that the sanitizer sees a read one past the end.
    const std::string exact(data, size);
    function(std::as_bytes(std::span(exact)));
  };
  call(reinterpret_cast<const char*>(input.data()), input.size());
  std::string patched = valid;
  for (std::size_t i = 0; i + 4 <= input.size() && !valid.empty(); i += 4) {
    if (i % 16 == 0) patched = valid;
    const std::size_t at = (input[i] | std::size_t{input[i + 1]} << 8) % patched.size();
    const auto operand = static_cast<char>(input[i + 3]);
    switch (input[i + 2] % 5) {
      case 0:
        patched[at] = operand;
        break;
      case 1:
        patched[at] = static_cast<char>(patched[at] ^ (1 << (operand & 7)));
        break;
      case 2:
        patched[at] = static_cast<char>(patched[at] + operand % 8);
        break;
      case 3:
        std::fill_n(patched.begin() + static_cast<std::ptrdiff_t>(at),
                    std::min<std::size_t>(8, patched.size() - at), operand);
        break;
      default:
        call(patched.data(), at);  // a truncated file
        continue;
    }
    call(patched.data(), patched.size());
  }
}

}  // namespace cria
