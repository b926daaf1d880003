// One file or several, as Hugging Face folders have them.
#include <filesystem>
#include <set>
#include <unordered_map>

#include "base/json/json.h"
#include "base/quote.h"
#include "format/safetensors/safetensors.h"

namespace cria {
namespace {

using Json = nlohmann::json;

constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";

Result<SafetensorsShard> open_shard(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  CRIA_ASSIGN_OR_RETURN(SafetensorsFile contents, SafetensorsFile::parse(file.bytes(), path));
  return SafetensorsShard{std::move(file), std::move(contents)};
}

// The name of a file in the folder itself: an index from elsewhere must not point at other files.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// Tensor name -> file name.
Result<std::map<std::string, std::string>> read_index(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  CRIA_ASSIGN_OR_RETURN(const Json index, parse_strict_json(text, path));
  const Json* weight_map = json_member(index, "weight_map");
  if (weight_map == nullptr || !weight_map->is_object()) {
    return bad_input("{}: has no object \"weight_map\"", path);
  }
  std::map<std::string, std::string> file_names;
  for (const auto& [tensor, file_name] : weight_map->items()) {
    if (!file_name.is_string() || !is_plain_file_name(file_name.get_ref<const std::string&>())) {
      return bad_input("{}: tensor {} is said to be in {}, expected the name of a file beside it",
                       path, quote(tensor), quote(file_name.dump()));
    }
    file_names.emplace(tensor, file_name.get<std::string>());
  }
  if (file_names.empty()) return bad_input("{}: \"weight_map\" is empty", path);
  return file_names;
}

Status check_tensors(const std::map<std::string, std::string>& file_names,
                     const std::vector<SafetensorsShard>& shards, const std::string& index_path) {
  std::unordered_map<std::string_view, std::string> owners;
  for (const SafetensorsShard& shard : shards) {
    const std::string file_name = std::filesystem::path(shard.file.path()).filename();
    for (const SafetensorsTensor& tensor : shard.contents.tensors()) {
      const auto [owner, is_new] = owners.emplace(tensor.name, file_name);
      if (!is_new) {
        return bad_input("{}: tensor {} is in {} as well", shard.file.path(), quote(tensor.name),
                         owner->second);
      }
    }
  }
  for (const auto& [tensor, file_name] : file_names) {
    const auto owner = owners.find(tensor);
    if (owner == owners.end() || owner->second != file_name) {
      return bad_input("{}: tensor {} is not in {}, where the index says it is", index_path,
                       quote(tensor), quote(file_name));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<SafetensorsShard>> open_safetensors_folder(const std::string& folder) {
  const std::filesystem::path root(folder);
  std::vector<SafetensorsShard> shards;
  std::error_code ignored;
  if (std::filesystem::exists(root / kSingleName, ignored)) {
    CRIA_ASSIGN_OR_RETURN(SafetensorsShard shard, open_shard(root / kSingleName));
    shards.push_back(std::move(shard));
    return shards;
  }
  const std::string index_path = root / kIndexName;
  if (!std::filesystem::exists(index_path, ignored)) {
    return not_found("{}: has neither {} nor {}", folder, kSingleName, kIndexName);
  }
  CRIA_ASSIGN_OR_RETURN(const auto file_names, read_index(index_path));
  std::set<std::string> opened;
  for (const auto& [tensor, file_name] : file_names) {
    if (!opened.insert(file_name).second) continue;
    const std::string path = root / file_name;
    if (!std::filesystem::exists(path, ignored)) {
      return not_found("{}: the index names it, but it is missing", path);
    }
    CRIA_ASSIGN_OR_RETURN(SafetensorsShard shard, open_shard(path));
    shards.push_back(std::move(shard));
  }
  CRIA_RETURN_IF_ERROR(check_tensors(file_names, shards, index_path));
  return shards;
}

}  // namespace cria
