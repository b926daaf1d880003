// A GGUF model on disk: one file, or all parts of a split one.
#pragma once

#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "format/gguf/gguf.h"

namespace cria {

// A mapped file and what is in it. Movable; `contents` points into `file`.
struct GgufPart {
  MappedFile file;
  GgufFile contents;
};

// Opens `path` and, when its metadata says `split.count` > 1, the other parts beside it
// (NAME-00001-of-00003.gguf, counted from one; `split.no` counts from zero). The parts come in
// order; the first one has the model's metadata. Errors name a part that is missing (kNotFound) or
// does not belong (kBadInput), a tensor that is in two parts, and a wrong `split.tensors.count`.
Result<std::vector<GgufPart>> open_gguf_parts(const std::string& path);

}  // namespace cria
