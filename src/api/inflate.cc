#include "cria/inflate.h"

#include <algorithm>

#include "base/quote.h"
#include "base/result.h"
#include "model/inflate.h"
#include "model/resolve.h"

namespace cria {

Result<InflateReport> inflate(const InflateOptions& options, const std::string& out_folder) {
  const auto shapes = named_shapes();
  const auto shape = std::ranges::find_if(
      shapes, [&](const NamedShape& known) { return options.shape == known.name; });
  if (shape == shapes.end()) {
    return invalid_argument("shape {} does not exist, expected one of {}", quote(options.shape),
                            fmt::join(inflate_shapes(), ", "));
  }
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(options.source));
  CRIA_ASSIGN_OR_RETURN(const InflateSummary summary,
                        inflate_checkpoint({path, shape->sizes, out_folder, options.progress}));
  return InflateReport{summary.n_parameters, summary.file_bytes};
}

std::vector<std::string> inflate_shapes() {
  std::vector<std::string> names;
  for (const NamedShape& shape : named_shapes()) names.emplace_back(shape.name);
  return names;
}

}  // namespace cria
