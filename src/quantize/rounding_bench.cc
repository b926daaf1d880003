// Time of rounding every linear of a model of a size: `rounding_bench [1b|3b] [ENCODING] [gptq|
// nearest] [THREADS]`. Weights and Hessians are random; one layer is done (all are alike) and
// multiplied by the number of layers. One JSON object on stdout; MAC/s counts the work of GPTQ's
// matrix products: n^3 / 6 for a factor, n^2 / 2 a row to feed back and as much to measure.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "quantize/rounding.h"

namespace cria {
namespace {

struct Input {
  std::int64_t n_cols;
  std::vector<std::int64_t> n_rows;  // of the matrices that share it
};
struct Shape {
  int n_layers;
  std::vector<Input> inputs;
};

Shape shape_of(const std::string& name) {
  if (name == "3b") {
    return {28, {{3072, {3072, 1024, 1024}}, {3072, {3072}}, {3072, {8192, 8192}}, {8192, {3072}}}};
  }
  return {16, {{2048, {2048, 512, 512}}, {2048, {2048}}, {2048, {8192, 8192}}, {8192, {2048}}}};
}

// Columns that mix a few sources, of very different size: a H with a random rank-8 part.
Matrix random_hessian(std::int64_t n) {
  constexpr int kSources = 8;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Matrix mix(n, kSources), hessian(n, n);
  for (std::int64_t i = 0; i < n; ++i) {
    const float size = std::exp(normal(random));
    for (float& m : mix.row(i)) m = size * normal(random);
    hessian.row(i)[i] = size * size;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      for (int s = 0; s < kSources; ++s) hessian.row(i)[j] += mix.row(i)[s] * mix.row(j)[s];
    }
  }
  return hessian;
}

Matrix random_weights(std::int64_t n_rows, std::int64_t n_cols) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 0.02f);
  Matrix weights(n_rows, n_cols);
  for (float& w : weights.values) w = normal(random);
  return weights;
}

double seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Totals {
  double factor_s = 0, round_s = 0, macs = 0, output_error = 0, output_sum = 0;
};

Status measure(const Input& input, RoundingRequest request, ThreadPool& pool, Totals& totals) {
  const bool gptq = request.method == RoundingMethod::kGptq;
  const auto n = static_cast<double>(input.n_cols);
  std::vector<float> importance(input.n_cols, 1.0f);
  if (!gptq) request.importance = importance;
  Result<HessianFactor> factor = invalid_argument("no factor yet");
  if (gptq) {
    const Matrix hessian = random_hessian(input.n_cols);
    totals.factor_s += seconds_of([&] {
      factor = HessianFactor::create(hessian, 0.01, rounding_order(request.encoding), pool);
    });
    CRIA_RETURN_IF_ERROR(factor.status());
    totals.macs += n * n * n / 6;
    request.factor = &*factor;
  }
  for (const std::int64_t n_rows : input.n_rows) {
    const Matrix weights = random_weights(n_rows, input.n_cols);
    Result<RoundedMatrix> rounded = invalid_argument("not rounded yet");
    totals.round_s += seconds_of([&] { rounded = round_matrix(weights, request, pool); });
    CRIA_RETURN_IF_ERROR(rounded.status());
    if (gptq) totals.macs += static_cast<double>(n_rows) * n * n;
    totals.output_error += rounded->output_error;
    totals.output_sum += rounded->output_sum;
  }
  return Status();
}

int run(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "1b";
  const auto encoding = encoding_from_name(argc > 2 ? argv[2] : "q4nlk");
  RoundingRequest request;
  request.method = argc > 3 && std::string(argv[3]) == "nearest" ? RoundingMethod::kNearest
                                                                 : RoundingMethod::kGptq;
  ThreadPool pool(argc > 4 ? std::atoi(argv[4]) : available_cores());
  if (!encoding) {
    fmt::print(stderr, "there is no encoding '{}'\n", argv[2]);
    return 2;
  }
  request.encoding = *encoding;
  const Shape shape = shape_of(name);
  Totals totals;
  for (const Input& input : shape.inputs) {
    const Status status = measure(input, request, pool, totals);
    if (!status.ok()) {
      fmt::print(stderr, "{}\n", status.message());
      return 1;
    }
  }
  const double layer_s = totals.factor_s + totals.round_s;
  fmt::print(
      "{{\"shape\": \"{}\", \"encoding\": \"{}\", \"threads\": {}, \"layer_seconds\": {:.3f}, "
      "\"factor_seconds\": {:.3f}, \"model_seconds\": {:.1f}, \"gmac_per_second\": {:.1f}, "
      "\"relative_output_error\": {:.3g}}}\n",
      name, encoding_spec(*encoding).name, pool.n_threads(), layer_s, totals.factor_s,
      layer_s * shape.n_layers, totals.macs / layer_s / 1e9,
      totals.output_error / totals.output_sum);
  return 0;
}

}  // namespace
}  // namespace cria

int main(int argc, char** argv) { return cria::run(argc, argv); }
