#include "write_hf_folder.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace cria {
namespace {

std::string header_json(const Checkpoint& checkpoint) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::size_t at = 0;
  for (const StoredWeight& weight : checkpoint.weights()) {
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    if (weight.n_rows > 1) shape.push_back(weight.n_rows);
    shape.push_back(weight.n_cols);
    header[weight.file_name] = {{"dtype", storage_spec(weight.type).name},
                                {"shape", std::move(shape)},
                                {"data_offsets", {at, at + weight.bytes.size()}}};
    at += weight.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void write_bytes(std::ofstream& file, const void* data, std::size_t size_bytes) {
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size_bytes));
}

}  // namespace

Status write_hf_folder(const ModelShape& shape, const Checkpoint& checkpoint,
                       const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return io_error("{}: cannot create the folder: {}", folder, error.message());
  std::ofstream config(folder + "/config.json", std::ios::binary);
  config << config_json(shape);
  config.close();
  std::ofstream weights(folder + "/model.safetensors", std::ios::binary);
  const std::string header = header_json(checkpoint);
  const std::uint64_t header_bytes = header.size();
  write_bytes(weights, &header_bytes, sizeof(header_bytes));
  write_bytes(weights, header.data(), header.size());
  for (const StoredWeight& weight : checkpoint.weights()) {
    write_bytes(weights, weight.bytes.data(), weight.bytes.size());
  }
  weights.close();
  if (config && weights) return {};
  return io_error("{}: cannot write config.json and model.safetensors", folder);
}

}  // namespace cria
