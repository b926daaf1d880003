#include "cria/quality_gate.h"

#include <algorithm>
#include <cmath>

#include "api/compile_path.h"
#include "base/result.h"
#include "model/resolve.h"

namespace cria {
namespace {

constexpr std::int64_t kDefaultWindow = 512;

Status check_limits(const QualityGate& gate) {
  for (const auto& [what, limit] :
       {std::pair{"KL", gate.max_kl}, {"loss of perplexity", gate.max_ppl_loss_percent}}) {
    if (limit && !(std::isfinite(*limit) && *limit >= 0)) {
      return invalid_argument("largest {} {}, expected a number from 0 on", what, *limit);
    }
  }
  return {};
}

// Before minutes of work: whether the text has a window.
Status check_text(const Engine& reference, const QualityGate& gate, std::int64_t n_ctx) {
  if (const auto bytes = reference.kv_cache_bytes(n_ctx); !bytes.ok()) return bytes.status();
  CRIA_ASSIGN_OR_RETURN(TextTokenizer tokenizer, reference.tokenizer());
  CRIA_ASSIGN_OR_RETURN(const std::vector<std::int32_t> ids, tokenizer.encode(gate.text));
  if (static_cast<std::int64_t>(ids.size()) >= n_ctx) return {};
  return bad_input("the text to evaluate on has {} tokens, one window needs {}", ids.size(), n_ctx);
}

// Written so that what is not a number is exceeded, too.
Status check_quality(const EvaluateReport& quality, const QualityGate& gate) {
  const double loss_percent = 100 * (quality.perplexity / quality.reference_perplexity - 1);
  std::string exceeded;
  if (gate.max_kl && !(quality.kl_mean <= *gate.max_kl)) {
    exceeded =
        fmt::format("mean KL {:.6f}, at most {:g} is allowed", quality.kl_mean, *gate.max_kl);
  }
  if (gate.max_ppl_loss_percent && !(loss_percent <= *gate.max_ppl_loss_percent)) {
    exceeded += fmt::format(
        "{}perplexity {:.4f} is {:+.3f} % of the source's {:.4f}, at most {:g} % is allowed",
        exceeded.empty() ? "" : "; ", quality.perplexity, loss_percent,
        quality.reference_perplexity, *gate.max_ppl_loss_percent);
  }
  if (exceeded.empty()) return {};
  return unsupported("not written, it loses too much: {}", exceeded);
}

// The source as it is stored, with float activations; its program has no name and goes with it.
Result<Engine> reference_engine(const std::string& path, const CompileOptions& options,
                                const std::string& out_path) {
  CompileOptions reference;
  reference.source = options.source;
  reference.tokenizer_path = options.tokenizer_path;
  reference.max_context = options.max_context;
  reference.activations = "a16";
  reference.sparse = options.sparse;
  reference.n_threads = options.n_threads;
  if (options.progress) {
    reference.progress = [&](std::string_view, std::uint64_t done, std::uint64_t total) {
      return options.progress("reference", done, total);
    };
  }
  std::optional<Engine> engine;
  const auto load = [&](const std::string& program) -> Status {
    CRIA_ASSIGN_OR_RETURN(engine, Engine::load(program, {.n_threads = options.n_threads}));
    return {};
  };
  const Result<CompileReport> report =
      compile_path(path, reference, out_path, {.check = load, .keep = false});
  if (!report.ok()) return report.status();
  return std::move(*engine);
}

}  // namespace

Result<GatedReport> compile_gated(const CompileOptions& options, const QualityGate& gate,
                                  const std::string& out_path) {
  CRIA_RETURN_IF_ERROR(check_limits(gate));
  CRIA_ASSIGN_OR_RETURN(const std::string path, resolve_model(options.source));
  CRIA_ASSIGN_OR_RETURN(const Engine reference, reference_engine(path, options, out_path));
  EvaluateOptions evaluation;
  evaluation.n_ctx =
      gate.n_ctx > 0 ? gate.n_ctx : std::min(kDefaultWindow, reference.info().max_context);
  evaluation.max_windows = gate.max_windows;
  evaluation.progress = options.progress;
  CRIA_RETURN_IF_ERROR(check_text(reference, gate, evaluation.n_ctx));
  GatedReport gated;
  const auto check = [&](const std::string& program) -> Status {
    CRIA_ASSIGN_OR_RETURN(const Engine engine,
                          Engine::load(program, {.n_threads = options.n_threads}));
    CRIA_ASSIGN_OR_RETURN(gated.quality, evaluate(engine, &reference, gate.text, evaluation));
    return check_quality(gated.quality, gate).with_context(out_path);
  };
  CRIA_ASSIGN_OR_RETURN(gated.compile, compile_path(path, options, out_path, {.check = check}));
  return gated;
}

}  // namespace cria
