// Writes safetensors files in memory: test support, for whoever needs a model to open.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

// Collects tensors in order, and gives the bytes of a file. Checks nothing.
class SafetensorsBuilder {
 public:
  // `dtype` as the format spells it ("F32"). The data are taken as they are.
  SafetensorsBuilder& tensor(std::string_view name, std::string_view dtype,
                             const std::vector<std::int64_t>& shape, std::string_view data);
  SafetensorsBuilder& erase_tensor(std::string_view name);
  std::vector<std::string> names() const;

  std::string build() const;

 private:
  struct Tensor {
    std::string name;
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string data;
  };
  std::vector<Tensor> tensors_;
};

// A file with `header` as its JSON text and `data` behind it.
std::string safetensors_bytes(std::string_view header, std::string_view data);

}  // namespace cria
