#include "format/gguf/gguf_parts.h"

#include <filesystem>
#include <unordered_map>

#include "base/quote.h"

namespace cria {
namespace {

constexpr std::int64_t kMaxParts = 99999;  // five digits in a file name

// "-00002-of-00003.gguf", for the part `index` counted from zero.
std::string part_suffix(std::int64_t index, std::int64_t n_parts) {
  return fmt::format("-{:05}-of-{:05}.gguf", index + 1, n_parts);
}

Result<GgufPart> open_part(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  CRIA_ASSIGN_OR_RETURN(GgufFile contents, GgufFile::parse(file.bytes(), path));
  return GgufPart{std::move(file), std::move(contents)};
}

struct Position {
  std::int64_t index = 0;
  std::int64_t n_parts = 1;
};

Result<Position> position_of(const GgufFile& file) {
  Position position;
  CRIA_ASSIGN_OR_RETURN(position.n_parts, file.integer("split.count", 1));
  CRIA_ASSIGN_OR_RETURN(position.index, file.integer("split.no", 0));
  if (position.n_parts == 0) position.n_parts = 1;
  if (position.n_parts < 1 || position.n_parts > kMaxParts || position.index < 0 ||
      position.index >= position.n_parts) {
    return bad_input("{}: split.no is {} and split.count {}, expected a number below a count",
                     file.what(), position.index, position.n_parts);
  }
  return position;
}

// What all parts' names have in common, from the name of one of them.
Result<std::string> common_prefix(const std::string& path, const Position& position) {
  const std::string suffix = part_suffix(position.index, position.n_parts);
  if (!path.ends_with(suffix)) {
    return bad_input("{}: is part {} of {} by its metadata, so its name should end in {}", path,
                     position.index + 1, position.n_parts, suffix);
  }
  return path.substr(0, path.size() - suffix.size());
}

Result<GgufPart> open_sibling(const std::string& path, const Position& expected) {
  if (!std::filesystem::exists(path)) {
    return not_found("{}: part {} of {} of a split model is missing", path, expected.index + 1,
                     expected.n_parts);
  }
  CRIA_ASSIGN_OR_RETURN(GgufPart part, open_part(path));
  CRIA_ASSIGN_OR_RETURN(const Position found, position_of(part.contents));
  if (found.index != expected.index || found.n_parts != expected.n_parts) {
    return bad_input("{}: is part {} of {} by its metadata, expected part {} of {}", path,
                     found.index + 1, found.n_parts, expected.index + 1, expected.n_parts);
  }
  return part;
}

Status check_tensors(const std::vector<GgufPart>& parts) {
  std::unordered_map<std::string_view, const GgufPart*> owners;
  for (const GgufPart& part : parts) {
    for (const GgufTensor& tensor : part.contents.tensors()) {
      const auto [owner, is_new] = owners.emplace(tensor.name, &part);
      if (!is_new) {
        return bad_input("{}: tensor {} is in {} as well", part.file.path(), quote(tensor.name),
                         owner->second->file.path());
      }
    }
  }
  const auto n_found = static_cast<std::int64_t>(owners.size());
  CRIA_ASSIGN_OR_RETURN(const auto n_expected,
                        parts[0].contents.integer("split.tensors.count", n_found));
  if (n_expected == n_found) return {};
  return bad_input("{}: split.tensors.count is {}, the {} parts have {} tensors",
                   parts[0].file.path(), n_expected, parts.size(), n_found);
}

}  // namespace

Result<std::vector<GgufPart>> open_gguf_parts(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(GgufPart opened, open_part(path));
  CRIA_ASSIGN_OR_RETURN(const Position position, position_of(opened.contents));
  std::vector<GgufPart> parts;
  if (position.n_parts == 1) {
    parts.push_back(std::move(opened));
    return parts;
  }
  CRIA_ASSIGN_OR_RETURN(const std::string prefix, common_prefix(path, position));
  for (std::int64_t i = 0; i < position.n_parts; ++i) {
    if (i == position.index) {
      parts.push_back(std::move(opened));  // NOLINT(bugprone-use-after-move): there is one such i
      continue;
    }
    CRIA_ASSIGN_OR_RETURN(GgufPart part, open_sibling(prefix + part_suffix(i, position.n_parts),
                                                      {i, position.n_parts}));
    parts.push_back(std::move(part));
  }
  CRIA_RETURN_IF_ERROR(check_tensors(parts));
  return parts;
}

}  // namespace cria
