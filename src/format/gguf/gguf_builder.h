// Writes GGUF files in memory: test support, for whoever needs a model file to open.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf/gguf.h"

namespace cria {

// Collects metadata and tensors in order, and gives the bytes of a file. Checks nothing, so that
// broken files can be made; what cannot be expressed (wrong counts, offsets) is set by the members.
//
//   GgufBuilder builder;
//   builder.text("general.architecture", "llama").u32("llama.block_count", 1);
//   builder.tensor("token_embd.weight", 0, {64, 320}, bytes);
//   std::string file = builder.build();
class GgufBuilder {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;    // of the data; write `general.alignment` to match
  std::int64_t extra_tensors = 0;  // added to the counts in the header
  std::int64_t extra_metadata = 0;
  std::int64_t extra_offset = 0;  // added to every tensor's offset

  GgufBuilder& u32(std::string_view key, std::uint32_t value);
  GgufBuilder& u64(std::string_view key, std::uint64_t value);
  GgufBuilder& i32(std::string_view key, std::int32_t value);
  GgufBuilder& f32(std::string_view key, float value);
  GgufBuilder& boolean(std::string_view key, bool value);
  GgufBuilder& text(std::string_view key, std::string_view value);
  GgufBuilder& texts(std::string_view key, const std::vector<std::string>& values);
  GgufBuilder& i32s(std::string_view key, const std::vector<std::int32_t>& values);
  GgufBuilder& f32s(std::string_view key, const std::vector<float>& values);
  // Any value: its type number and the bytes that follow it.
  GgufBuilder& raw(std::string_view key, std::uint32_t type, std::string_view bytes);
  // Drops what was set before under `key`.
  GgufBuilder& erase(std::string_view key);

  // `type` is GGUF's number. The data are taken as they are; dims[0] is contiguous.
  GgufBuilder& tensor(std::string_view name, std::uint32_t type,
                      const std::vector<std::uint64_t>& dims, std::string_view data);
  GgufBuilder& erase_tensor(std::string_view name);

  std::string build() const;

 private:
  struct Entry {
    std::string key;
    std::uint32_t type;
    std::string bytes;
  };
  struct Tensor {
    std::string name;
    std::uint32_t type;
    std::vector<std::uint64_t> dims;
    std::string data;
  };
  std::vector<Entry> entries_;
  std::vector<Tensor> tensors_;
};

}  // namespace cria
