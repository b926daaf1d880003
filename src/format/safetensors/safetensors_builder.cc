#include "format/safetensors/safetensors_builder.h"

#include <nlohmann/json.hpp>

namespace cria {

SafetensorsBuilder& SafetensorsBuilder::tensor(std::string_view name, std::string_view dtype,
                                               const std::vector<std::int64_t>& shape,
                                               std::string_view data) {
  tensors_.push_back({std::string(name), std::string(dtype), shape, std::string(data)});
  return *this;
}

SafetensorsBuilder& SafetensorsBuilder::erase_tensor(std::string_view name) {
  std::erase_if(tensors_, [&](const Tensor& tensor) { return tensor.name == name; });
  return *this;
}

std::vector<std::string> SafetensorsBuilder::names() const {
  std::vector<std::string> names;
  for (const Tensor& tensor : tensors_) names.push_back(tensor.name);
  return names;
}

std::string SafetensorsBuilder::build() const {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const Tensor& tensor : tensors_) {
    const std::size_t begin = data.size();
    data += tensor.data;
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return safetensors_bytes(header.dump(), data);
}

std::string safetensors_bytes(std::string_view header, std::string_view data) {
  const std::uint64_t size = header.size();
  std::string file(reinterpret_cast<const char*>(&size), sizeof(size));
  return file.append(header).append(data);
}

}  // namespace cria
