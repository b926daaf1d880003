#include "model/resolve.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/quote.h"
#include "model/vocabulary_files.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCommitDigits = 40;

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
         !error && entry != end && names.size() < 8; entry.increment(error)) {
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

}  // namespace

Result<std::string> resolve_model(const std::string& path_or_id) {
  std::error_code error;
  if (fs::exists(path_or_id, error)) return path_or_id;
  const std::optional<ModelId> id = parse_id(path_or_id);
  if (id) return find_in_cache(*id);
  return not_found("{}: no such file or folder, and not a model id (org/name or org/name@revision)",
                   quote(path_or_id));
}

}  // namespace cria
