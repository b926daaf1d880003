#include "format/gguf/gguf_builder.h"

#include <cstring>

#include "base/aligned_buffer.h"

namespace cria {
namespace {

template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

std::string sized_text(std::string_view text) {
  return bytes_of<std::uint64_t>(text.size()).append(text);
}

template <typename T>
std::string array_of(GgufValueType type, const std::vector<T>& values) {
  std::string bytes = bytes_of(type) + bytes_of<std::uint64_t>(values.size());
  for (const T& value : values) bytes += bytes_of(value);
  return bytes;
}

constexpr auto number_of = [](GgufValueType type) { return static_cast<std::uint32_t>(type); };

}  // namespace

GgufBuilder& GgufBuilder::raw(std::string_view key, std::uint32_t type, std::string_view bytes) {
  entries_.push_back({std::string(key), type, std::string(bytes)});
  return *this;
}

GgufBuilder& GgufBuilder::erase(std::string_view key) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
  return *this;
}

GgufBuilder& GgufBuilder::u32(std::string_view key, std::uint32_t value) {
  return raw(key, number_of(GgufValueType::kU32), bytes_of(value));
}

GgufBuilder& GgufBuilder::u64(std::string_view key, std::uint64_t value) {
  return raw(key, number_of(GgufValueType::kU64), bytes_of(value));
}

GgufBuilder& GgufBuilder::i32(std::string_view key, std::int32_t value) {
  return raw(key, number_of(GgufValueType::kI32), bytes_of(value));
}

GgufBuilder& GgufBuilder::f32(std::string_view key, float value) {
  return raw(key, number_of(GgufValueType::kF32), bytes_of(value));
}

GgufBuilder& GgufBuilder::boolean(std::string_view key, bool value) {
  return raw(key, number_of(GgufValueType::kBool), bytes_of(value));
}

GgufBuilder& GgufBuilder::text(std::string_view key, std::string_view value) {
  return raw(key, number_of(GgufValueType::kText), sized_text(value));
}

GgufBuilder& GgufBuilder::texts(std::string_view key, const std::vector<std::string>& values) {
  std::string bytes = bytes_of(GgufValueType::kText) + bytes_of<std::uint64_t>(values.size());
  for (const std::string& value : values) bytes += sized_text(value);
  return raw(key, number_of(GgufValueType::kArray), bytes);
}

GgufBuilder& GgufBuilder::i32s(std::string_view key, const std::vector<std::int32_t>& values) {
  return raw(key, number_of(GgufValueType::kArray), array_of(GgufValueType::kI32, values));
}

GgufBuilder& GgufBuilder::f32s(std::string_view key, const std::vector<float>& values) {
  return raw(key, number_of(GgufValueType::kArray), array_of(GgufValueType::kF32, values));
}

GgufBuilder& GgufBuilder::tensor(std::string_view name, std::uint32_t type,
                                 const std::vector<std::uint64_t>& dims, std::string_view data) {
  tensors_.push_back({std::string(name), type, dims, std::string(data)});
  return *this;
}

GgufBuilder& GgufBuilder::erase_tensor(std::string_view name) {
  std::erase_if(tensors_, [&](const Tensor& tensor) { return tensor.name == name; });
  return *this;
}

std::string GgufBuilder::build() const {
  std::string file = "GGUF" + bytes_of(version) +
                     bytes_of<std::uint64_t>(tensors_.size() + extra_tensors) +
                     bytes_of<std::uint64_t>(entries_.size() + extra_metadata);
  for (const Entry& entry : entries_) {
    file += sized_text(entry.key) + bytes_of(entry.type) + entry.bytes;
  }
  std::string data;
  for (const Tensor& tensor : tensors_) {
    data.resize(align_up(data.size(), alignment));
    file += sized_text(tensor.name) +
            bytes_of<std::uint32_t>(static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::uint64_t dim : tensor.dims) file += bytes_of(dim);
    file += bytes_of(tensor.type) + bytes_of<std::uint64_t>(data.size() + extra_offset);
    data += tensor.data;
  }
  file.resize(align_up(file.size(), alignment));
  return file + data;
}

}  // namespace cria
