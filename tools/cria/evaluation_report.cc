#include "evaluation_report.h"

#include <fmt/format.h>

namespace cria::cli {

nlohmann::ordered_json evaluation_json(const EvaluateReport& report) {
  nlohmann::ordered_json json = {{"n_windows", report.n_windows},
                                 {"n_scored", report.n_scored},
                                 {"perplexity", report.perplexity},
                                 {"perplexity_error", report.perplexity_error}};
  if (report.has_reference) {
    json["reference_perplexity"] = report.reference_perplexity;
    json["kl_mean"] = report.kl_mean;
    json["kl_error"] = report.kl_error;
    json["kl_p999"] = report.kl_p999;
    json["kl_max"] = report.kl_max;
    json["top1_agreement"] = report.top1_agreement;
  }
  return json;
}

std::string evaluation_text(const EvaluateReport& report) {
  std::string text =
      fmt::format("perplexity   {:.4f} +- {:.4f}   ({} tokens scored in {} windows)\n",
                  report.perplexity, report.perplexity_error, report.n_scored, report.n_windows);
  if (!report.has_reference) return text;
  text += fmt::format("reference    {:.4f}   ({:+.3f} %)\n", report.reference_perplexity,
                      100 * (report.perplexity / report.reference_perplexity - 1));
  text += fmt::format("KL           mean {:.6f} +- {:.6f}   99.9 % {:.6f}   max {:.6f}\n",
                      report.kl_mean, report.kl_error, report.kl_p999, report.kl_max);
  text += fmt::format("same top 1   {:.3f} %\n", 100 * report.top1_agreement);
  return text;
}

}  // namespace cria::cli
