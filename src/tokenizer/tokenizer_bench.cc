// Speed of the tokenizer in bytes of text per second, and the time to load one.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>

#include "tokenizer/pretokenizer.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_testing.h"

namespace cria {
namespace {

// wikitext-2 where it is there, else words of a random language.
const std::string& text() {
  static const std::string text = [] {
    if (auto file = read_text_file(shared_data("text/wikitext2-test.txt"))) return *file;
    std::mt19937 random(1);
    std::vector<std::string> words(5000);
    for (auto& word : words) {
      const std::size_t length = 1 + random() % 9;
      for (std::size_t i = 0; i < length; ++i) word.push_back("etaoinshrdlu"[random() % 12]);
    }
    std::string generated;
    while (generated.size() < (1u << 20)) {
      generated += words[std::min(random() % words.size(), random() % words.size())];
      generated += random() % 12 == 0 ? ". " : " ";
    }
    return generated;
  }();
  return text;
}

// Llama 3's where it is there, else the one of the tests.
const Tokenizer& tokenizer() {
  static const Tokenizer tokenizer = [] {
    Vocabulary vocabulary = tiny_vocabulary();
    if (const auto ranks = read_text_file(shared_data("llama3/tokenizer.model"))) {
      if (auto read = read_tiktoken_vocabulary(*ranks, "tokenizer.model"); read.ok()) {
        vocabulary = std::move(read).value();
      }
    }
    auto built = Tokenizer::build(vocabulary);
    if (!built.ok()) std::abort();
    return std::move(built).value();
  }();
  return tokenizer;
}

void set_bytes(benchmark::State& state, std::size_t n_bytes) {
  state.SetBytesProcessed(static_cast<std::int64_t>(n_bytes) *
                          static_cast<std::int64_t>(state.iterations()));
}

void BM_encode(benchmark::State& state) {
  const auto n_bytes = std::min(static_cast<std::size_t>(state.range(0)), text().size());
  const std::string_view part = std::string_view(text()).substr(0, n_bytes);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer().encode(part));
  set_bytes(state, n_bytes);
}
BENCHMARK(BM_encode)->Arg(200)->Arg(4000)->Arg(1 << 30);

void BM_decode(benchmark::State& state) {
  const auto ids = tokenizer().encode(text());
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer().decode(*ids));
  set_bytes(state, text().size());
}
BENCHMARK(BM_decode);

void BM_split(benchmark::State& state) {
  const SplitOptions options = {.ascii_fast_path = state.range(0) == 1};
  for (auto _ : state) {
    auto splitter = PreTokenSplitter::create(text(), options);
    while (!splitter->next().empty()) {
    }
  }
  set_bytes(state, text().size());
}
BENCHMARK(BM_split)->ArgName("by_hand")->Arg(0)->Arg(1);

// One piece without a break.
void BM_encode_one_letter(benchmark::State& state) {
  const std::string letters(static_cast<std::size_t>(state.range(0)), 'a');
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer().encode(letters));
  set_bytes(state, letters.size());
}
BENCHMARK(BM_encode_one_letter)->Arg(1 << 20);

void BM_load(benchmark::State& state) {
  const std::vector<std::byte> blob = tokenizer().serialize();
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::load(blob, "bench"));
  state.counters["blob_bytes"] = static_cast<double>(blob.size());
}
BENCHMARK(BM_load);

void BM_build(benchmark::State& state) {
  const auto ranks = read_text_file(shared_data("llama3/tokenizer.model"));
  const auto vocabulary =
      ranks ? read_tiktoken_vocabulary(*ranks, "tokenizer.model") : tiny_vocabulary();
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::build(*vocabulary));
}
BENCHMARK(BM_build)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cria
