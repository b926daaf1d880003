// Where profiles lie.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/mapped_file.h"
#include "base/quote.h"
#include "format/npu_profile/npu_profile.h"

namespace cria {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMostProfileBytes = 1 << 20;

}  // namespace

std::vector<std::string> npu_profile_folders() {
  std::vector<std::string> folders;
  if (const char* listed = std::getenv("CRIA_PROFILES")) {
    std::string_view rest = listed;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(':'), rest.size());
      if (end > 0) folders.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (!error) {
    for (const char* beside : {"profiles/npu", "../profiles/npu", "../share/cria/profiles/npu"})
      folders.push_back((program / beside).lexically_normal().string());
  }
#ifdef CRIA_PROFILE_SOURCE_DIR
  folders.push_back(CRIA_PROFILE_SOURCE_DIR);
#endif
  return folders;
}

std::vector<std::string> list_npu_profiles() {
  std::map<std::string, std::string> by_name;
  for (const std::string& folder : npu_profile_folders()) {
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
      if (entry->path().extension() == ".toml")
        by_name.emplace(entry->path().stem().string(), entry->path().string());
    }
  }
  std::vector<std::string> paths;
  for (const auto& [name, path] : by_name) paths.push_back(path);
  return paths;
}

Result<NpuProfileFile> load_npu_profile(const std::string& name_or_path) {
  std::string path = name_or_path;
  if (name_or_path.find('/') == std::string::npos && !name_or_path.ends_with(".toml")) {
    path.clear();
    std::string names;
    for (const std::string& candidate : list_npu_profiles()) {
      const std::string stem = fs::path(candidate).stem().string();
      if (stem == name_or_path) path = candidate;
      names += (names.empty() ? "" : ", ") + stem;
    }
    if (path.empty())
      return not_found("no NPU profile {}; there are: {}", quote(name_or_path),
                       names.empty() ? "none" : names);
  }
  CRIA_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  if (bytes.size() > kMostProfileBytes)
    return bad_input("{}: {} bytes where a profile of at most {} is expected", path, bytes.size(),
                     kMostProfileBytes);
  NpuProfileFile result;
  result.text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  result.path = path;
  CRIA_ASSIGN_OR_RETURN(result.profile, parse_npu_profile(result.text, path));
  return result;
}

}  // namespace cria
