#include "model/resolve.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "base/quote.h"
#include "model/vocabulary_files.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCommitDigits = 40;
constexpr std::size_t kMaxNamesTold = 8;
constexpr const char* kGgufSuffix = ".gguf";

struct ModelId {
  std::string org;
  std::string name;
  std::string revision = "main";
};

// A part of an id or of a revision: what can be a file name on every system, and is not "..".
bool is_plain_part(std::string_view part) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
         std::ranges::all_of(part, allowed) && part.find("..") == std::string_view::npos;
}

bool is_commit(std::string_view text) {
  return text.size() == kCommitDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// "org/name" or "org/name@revision"; the revision may have slashes.
std::optional<ModelId> parse_id(std::string_view text) {
  ModelId id;
  if (const std::size_t at = text.find('@'); at != std::string_view::npos) {
    id.revision = text.substr(at + 1);
    text = text.substr(0, at);
  }
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  id.org = text.substr(0, slash);
  id.name = text.substr(slash + 1);
  if (!is_plain_part(id.org) || !is_plain_part(id.name)) return std::nullopt;
  for (std::string_view rest = id.revision;;) {
    const std::size_t end = rest.find('/');
    if (!is_plain_part(rest.substr(0, end))) return std::nullopt;
    if (end == std::string_view::npos) return id;
    rest = rest.substr(end + 1);
  }
}

// A variable that is set and not empty, with a leading ~ replaced.
std::optional<fs::path> path_variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  const std::string_view text(value);
  const char* home = std::getenv("HOME");
  if (text.starts_with("~/") && home != nullptr) return fs::path(home) / text.substr(2);
  return fs::path(text);
}

fs::path cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (auto path = path_variable(name)) return *path;
  }
  if (auto path = path_variable("HF_HOME")) return *path / "hub";
  if (auto path = path_variable("XDG_CACHE_HOME")) return *path / "huggingface" / "hub";
  return path_variable("HOME").value_or("") / ".cache" / "huggingface" / "hub";
}

// What the cache has of a model, for the error that says what it has not.
std::string known_revisions(const fs::path& model) {
  std::vector<std::string> names;
  for (const char* folder : {"refs", "snapshots"}) {
    std::error_code error;
    for (fs::recursive_directory_iterator entry(model / folder, error), end;
         !error && entry != end && names.size() < kMaxNamesTold; entry.increment(error)) {
      const bool is_snapshot = std::string_view(folder) == "snapshots";
      if (is_snapshot) entry.disable_recursion_pending();
      if (is_snapshot == entry->is_directory(error)) {
        names.push_back(entry->path().lexically_relative(model / folder));
      }
    }
  }
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

// The commit that a branch or tag stands for.
Result<std::string> read_reference(const fs::path& model, const ModelId& id) {
  const fs::path path = model / "refs" / id.revision;
  CRIA_ASSIGN_OR_RETURN(std::string commit, read_text_if_exists(path));
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  if (commit.empty()) {
    return not_found("{}/{}: {} has no revision {} (it has: {})", id.org, id.name, model.string(),
                     quote(id.revision), known_revisions(model));
  }
  if (is_commit(commit)) return commit;
  return bad_input("{}: is {}, expected a commit of {} hexadecimal digits", path.string(),
                   quote(commit), kCommitDigits);
}

Result<std::string> find_in_cache(const ModelId& id) {
  const fs::path cache = cache_folder();
  const fs::path model = cache / fmt::format("models--{}--{}", id.org, id.name);
  std::error_code error;
  if (!fs::is_directory(model, error)) {
    return not_found(
        "{}/{}: no such file, and not in the Hugging Face cache {} (nothing is downloaded)", id.org,
        id.name, cache.string());
  }
  std::string commit = id.revision;
  if (!is_commit(commit)) {
    CRIA_ASSIGN_OR_RETURN(commit, read_reference(model, id));
  }
  const fs::path snapshot = model / "snapshots" / commit;
  if (fs::is_directory(snapshot, error)) return snapshot.string();
  return not_found("{}/{}: {} is missing (there are: {})", id.org, id.name, snapshot.string(),
                   known_revisions(model));
}

// "name" for "name.gguf" and for every part "name-00001-of-00003.gguf" of a split model.
std::string gguf_model_name(std::string_view file_name) {
  constexpr std::string_view kPart = "-00000-of-00000";
  file_name.remove_suffix(std::string_view(kGgufSuffix).size());
  if (file_name.size() <= kPart.size()) return std::string(file_name);
  const std::string_view end = file_name.substr(file_name.size() - kPart.size());
  const bool is_part = std::ranges::equal(end, kPart, [](char found, char expected) {
    return expected == '0' ? found >= '0' && found <= '9' : found == expected;
  });
  if (is_part) file_name.remove_suffix(kPart.size());
  return std::string(file_name);
}

// A folder without safetensors but with a GGUF model stands for that model, as in the cache of
// repositories that have nothing else.
Result<std::string> model_in_folder(const std::string& path) {
  std::error_code error;
  std::map<std::string, std::string> models;  // name -> its first file
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string file_name = entry->path().filename();
    if (file_name.starts_with("model.safetensors")) return path;
    if (!file_name.ends_with(kGgufSuffix)) continue;
    std::string& first = models[gguf_model_name(file_name)];
    if (first.empty() || file_name < first) first = file_name;
  }
  if (models.empty()) return path;
  if (models.size() == 1) return (fs::path(path) / models.begin()->second).string();
  std::vector<std::string> names;
  for (const auto& [name, first] : models) {
    if (names.size() < kMaxNamesTold) names.push_back(first);
  }
  return invalid_argument("{}: has {} GGUF models ({}{}); name one of the files", path,
                          models.size(), fmt::join(names, ", "),
                          models.size() > names.size() ? ", ..." : "");
}

}  // namespace

Result<std::string> resolve_model(const std::string& path_or_id) {
  std::error_code error;
  if (fs::is_directory(path_or_id, error)) return model_in_folder(path_or_id);
  if (fs::exists(path_or_id, error)) return path_or_id;
  const std::optional<ModelId> id = parse_id(path_or_id);
  if (id) {
    CRIA_ASSIGN_OR_RETURN(const std::string snapshot, find_in_cache(*id));
    return model_in_folder(snapshot);
  }
  return not_found("{}: no such file or folder, and not a model id (org/name or org/name@revision)",
                   quote(path_or_id));
}

}  // namespace cria
