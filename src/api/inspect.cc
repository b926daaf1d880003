#include "api/inspect.h"

#include <filesystem>

#include "base/mapped_file.h"
#include "base/result.h"
#include "cria/toolchain.h"
#include "format/gguf/gguf_parts.h"
#include "format/safetensors/safetensors.h"
#include "model/checkpoint.h"
#include "model/config_json.h"
#include "model/hf_config.h"
#include "model/resolve.h"
#include "model/vocabulary_files.h"

namespace cria {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// What is on the way to being understood as a Llama, or why it is not: a file can be looked at
// either way.
Json checkpoint_json(const std::string& path) {
  Result<std::unique_ptr<Checkpoint>> checkpoint = open_checkpoint(path);
  if (!checkpoint.ok()) return {{"importable", false}, {"reason", checkpoint.status().message()}};
  Json json = {{"importable", true}, {"description", (*checkpoint)->description()}};
  json.update(config_json((*checkpoint)->config()));
  json["has_tokenizer"] = (*checkpoint)->vocabulary() != nullptr;
  return json;
}

// How the folder's weights are quantized, null if they are not. The folder opened, so its
// config.json is good.
Json quantization_json(const std::string& folder) {
  const std::string path = fs::path(folder) / "config.json";
  const Result<std::string> text = read_text_if_exists(path);
  if (!text.ok()) return nullptr;
  const Result<HfConfig> config = read_hf_config(*text, path);
  if (!config.ok() || !config->quantization) return nullptr;
  const HfQuantization& quantization = *config->quantization;
  Json json = {{"method", quantization.method_name()}};
  if (quantization.method == HfQuantMethod::kGptq) {
    json["version"] = quantization.zeros_less_one ? 1 : 2;
  }
  json["bits"] = quantization.bits;
  if (quantization.method != HfQuantMethod::kExl2) json["group_size"] = quantization.group_size;
  if (quantization.method == HfQuantMethod::kGptq) json["act_order"] = quantization.act_order;
  return json;
}

Result<std::string> inspect_gguf(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(const std::vector<GgufPart> parts, open_gguf_parts(path));
  Json metadata = Json::object();
  Json tensors = Json::array();
  Json files = Json::array();
  for (const GgufPart& part : parts) {
    files.push_back({{"path", part.file.path()}, {"bytes", part.file.bytes().size()}});
    for (const GgufTensor& tensor : part.contents.tensors()) {
      // Outermost dimension first, as everywhere else in cria.
      const std::vector<std::int64_t> shape(tensor.dims.rbegin(), tensor.dims.rend());
      tensors.push_back({{"name", tensor.name},
                         {"type", storage_spec(tensor.type).name},
                         {"shape", shape},
                         {"bytes", tensor.bytes.size()},
                         {"offset", tensor.offset}});
    }
  }
  const GgufFile& first = parts.front().contents;
  for (const GgufEntry& entry : first.metadata())
    metadata[std::string(entry.key)] = entry.value.to_string();
  const Json json = {
      {"kind", "gguf"},    {"version", first.version()},     {"alignment", first.alignment()},
      {"files", files},    {"llama", checkpoint_json(path)}, {"metadata", metadata},
      {"tensors", tensors}};
  return json_text(json);
}

Json safetensors_list(const SafetensorsFile& file) {
  Json tensors = Json::array();
  for (const SafetensorsTensor& tensor : file.tensors()) {
    tensors.push_back({{"name", tensor.name},
                       {"type", safetensors_dtype_name(tensor.dtype)},
                       {"shape", tensor.shape},
                       {"bytes", tensor.bytes.size()},
                       {"offset", tensor.offset}});
  }
  return tensors;
}

Result<std::string> inspect_folder(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(const std::vector<SafetensorsShard> shards, open_safetensors_folder(path));
  Json tensors = Json::array();
  Json files = Json::array();
  for (const SafetensorsShard& shard : shards) {
    files.push_back({{"path", shard.file.path()}, {"bytes", shard.file.bytes().size()}});
    for (Json& tensor : safetensors_list(shard.contents)) tensors.push_back(std::move(tensor));
  }
  Json llama = checkpoint_json(path);
  if (llama["importable"] == true) {
    Json quantization = quantization_json(path);
    if (!quantization.is_null()) llama["quantization"] = std::move(quantization);
  }
  const Json json = {
      {"kind", "safetensors"}, {"files", files}, {"llama", llama}, {"tensors", tensors}};
  return json_text(json);
}

Result<std::string> inspect_safetensors(const MappedFile& file) {
  CRIA_ASSIGN_OR_RETURN(const SafetensorsFile contents,
                        SafetensorsFile::parse(file.bytes(), file.path()));
  const Json json = {{"kind", "safetensors"},
                     {"files", {{{"path", file.path()}, {"bytes", file.bytes().size()}}}},
                     {"metadata", contents.metadata()},
                     {"tensors", safetensors_list(contents)}};
  return json_text(json);
}

}  // namespace

std::string json_text(const Json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Result<std::string> inspect(const std::string& path_or_id) {
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(path_or_id));
  std::error_code error;
  if (fs::is_directory(path, error)) return inspect_folder(path);
  CRIA_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (GgufFile::recognizes(file.bytes())) return inspect_gguf(path);
  if (is_pte(file.bytes())) return inspect_pte(file);
  if (SafetensorsFile::recognizes(file.bytes())) return inspect_safetensors(file);
  return bad_input("{}: neither a .pte, a GGUF file, a safetensors file nor a Hugging Face folder",
                   path);
}

}  // namespace cria
