#include "random_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "model/expected_weights.h"
#include "model/resolve.h"
#include "model/vocabulary_files.h"
#include "tensor/float16.h"

namespace cria {
namespace {

// Random blocks before they repeat. A prime: no row then begins as another one does.
constexpr std::size_t kDistinctBlocks = 262139;
// Where windows begin: so many blocks apart, so many of them before the first place comes again.
constexpr std::size_t kWindowStep = 1021;
constexpr std::size_t kMostWindows = 256;

// Bytes are random but for the half floats that scale a block: [scale, min) offsets and what the
// scale is multiplied by at most, so that weights are about as large as those of a real model.
struct BlockForm {
  StorageType type;
  int scale_offset;  // -1: none
  int min_offset;    // -1: none
  float largest_multiple;
};
constexpr BlockForm kForms[] = {
    {StorageType::kQ8_0, 0, -1, 127},      {StorageType::kQ4_0, 0, -1, 8},
    {StorageType::kQ4_1, 0, 2, 15},        {StorageType::kQ5_0, 0, -1, 16},
    {StorageType::kQ5_1, 0, 2, 31},        {StorageType::kQ2_K, 80, 82, 15 * 3},
    {StorageType::kQ3_K, 108, -1, 31 * 4}, {StorageType::kQ4_K, 0, 2, 63 * 15},
    {StorageType::kQ5_K, 0, 2, 63 * 31},   {StorageType::kQ6_K, 208, -1, 127 * 31},
    {StorageType::kIQ4_NL, 0, -1, 127},    {StorageType::kIQ4_XS, 0, -1, 31 * 127},
};
constexpr float kLargestWeight = 0.05F;

class Random {
 public:
  std::uint64_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return state_ ^ (state_ >> 29);
  }
  // Near enough to a normal distribution with deviation 0.02: the sum of four uniform numbers.
  float weight() {
    const std::uint64_t four = bits();
    int sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<int>((four >> (16 * i)) & 0xffff) - 0x8000;
    return static_cast<float>(sum) * (0.02F / 37837.0F);
  }

 private:
  std::uint64_t state_ = 20260101;
};

void put_half(std::byte* at, float value) {
  const std::uint16_t half = f32_to_f16(value);
  std::memcpy(at, &half, sizeof(half));
}

void fill_block(const StorageSpec& spec, Random& random, std::byte* block) {
  if (spec.type == StorageType::kF32) {
    const float value = random.weight();
    std::memcpy(block, &value, sizeof(value));
    return;
  }
  if (spec.type == StorageType::kF16) return put_half(block, random.weight());
  if (spec.type == StorageType::kBF16) {
    const std::uint16_t value = f32_to_bf16(random.weight());
    std::memcpy(block, &value, sizeof(value));
    return;
  }
  for (int i = 0; i < spec.block_bytes; ++i) block[i] = static_cast<std::byte>(random.bits());
  if (spec.type == StorageType::kMXFP4) {
    block[0] = std::byte{120};  // 2^-8, times 12 at most
    return;
  }
  const auto* form = std::ranges::find(kForms, spec.type, &BlockForm::type);
  const float scale = kLargestWeight / form->largest_multiple;
  put_half(block + form->scale_offset, scale);
  if (form->min_offset >= 0) put_half(block + form->min_offset, -scale);
}

}  // namespace

Result<std::unique_ptr<RandomCheckpoint>> RandomCheckpoint::create(
    const ModelShape& shape, StorageType type, const std::string& tokenizer_path,
    const RandomZeros& zeros) {
  std::unique_ptr<RandomCheckpoint> checkpoint(new RandomCheckpoint);
  CRIA_ASSIGN_OR_RETURN(checkpoint->config_, config_of(shape));
  const LlamaConfig& config = checkpoint->config_;
  if (!tokenizer_path.empty()) {
    CRIA_ASSIGN_OR_RETURN(checkpoint->vocabulary_, open_vocabulary(tokenizer_path));
    CRIA_RETURN_IF_ERROR(
        check_vocabulary_size(checkpoint->vocabulary_, config.n_vocab, tokenizer_path));
  }
  const bool dense = encoding_spec(storage_spec(type).encoding).dense();
  const StorageType embedding_type = dense ? type : StorageType::kQ8_0;
  const std::int64_t layer_elements =
      config.hidden * std::max(config.ffn, config.n_heads * config.head_dim);
  const std::int64_t embedding_elements = config.hidden * config.n_vocab;
  if (embedding_type == type) {
    CRIA_RETURN_IF_ERROR(checkpoint->add_field(type, std::max(layer_elements, embedding_elements)));
  } else {
    CRIA_RETURN_IF_ERROR(checkpoint->add_field(type, layer_elements));
    CRIA_RETURN_IF_ERROR(checkpoint->add_field(embedding_type, embedding_elements));
  }
  for (std::int64_t i = 0; i < config.hidden; ++i) {
    std::byte one[sizeof(std::uint16_t)];
    put_half(one, 1);
    checkpoint->gains_.insert(checkpoint->gains_.end(), one, one + sizeof(one));
  }
  for (const ExpectedWeight& expected : expected_weights(config)) {
    StoredWeight weight{.name = expected.name, .file_name = expected.hf_name};
    weight.n_cols = expected.shape.back();
    weight.n_rows = expected.shape.size() == 1 ? 1 : expected.shape[0];
    if (expected.shape.size() == 1) {
      weight.type = StorageType::kF16;
      weight.bytes = checkpoint->gains_;
    } else {
      weight.type = weight.n_rows == config.n_vocab ? embedding_type : type;
      weight.bytes = checkpoint->window(weight.type, weight.n_rows, weight.n_cols);
      if (zeros.any() && weight.n_rows != config.n_vocab) {
        CRIA_ASSIGN_OR_RETURN(weight.bytes, checkpoint->with_zeros(weight, zeros));
      }
    }
    checkpoint->weights_.push_back(std::move(weight));
  }
  checkpoint->description_ =
      fmt::format("random weights, shape {}, {}", shape.name, storage_spec(type).name);
  return checkpoint;
}

Result<std::span<const std::byte>> RandomCheckpoint::with_zeros(const StoredWeight& weight,
                                                                const RandomZeros& zeros) {
  const StorageSpec& spec = storage_spec(weight.type);
  AlignedBuffer& memory = zeroed_[{weight.n_rows, weight.n_cols}];
  if (memory.size_bytes() != 0) return std::span<const std::byte>(memory.bytes());
  CRIA_ASSIGN_OR_RETURN(memory, AlignedBuffer::allocate(weight.bytes.size()));
  std::memcpy(memory.data(), weight.bytes.data(), weight.bytes.size());
  const auto group_bytes =
      static_cast<std::size_t>(kColumnGroup / spec.block_elements * spec.block_bytes);
  const std::size_t n_groups = static_cast<std::size_t>(weight.n_cols / kColumnGroup);
  const std::size_t row_bytes = storage_row_bytes(weight.type, weight.n_cols);
  const std::size_t element_bytes = static_cast<std::size_t>(spec.block_bytes);
  std::mt19937 random(7);
  std::vector<bool> is_zero(n_groups);
  for (std::int64_t r = 0; r < weight.n_rows; ++r) {
    std::byte* row = memory.data() + static_cast<std::size_t>(r) * row_bytes;
    for (std::size_t g = 0; g < n_groups; ++g) {
      if (r % kPanelRows == 0) is_zero[g] = random() % 1000 < 1000 * zeros.block_share;
      if (is_zero[g]) std::memset(row + g * group_bytes, 0, group_bytes);
    }
    for (std::int64_t k = 0; zeros.two_in_four && k < weight.n_cols; k += 4) {
      const auto keep = random() % 4;  // this one, and the next
      for (std::size_t i = 0; i < 4; ++i) {
        if (i == keep || i == (keep + 1) % 4) continue;
        std::memset(row + (static_cast<std::size_t>(k) + i) * element_bytes, 0, element_bytes);
      }
    }
  }
  return std::span<const std::byte>(memory.bytes());
}

Status RandomCheckpoint::add_field(StorageType type, std::int64_t largest_elements) {
  const StorageSpec& spec = storage_spec(type);
  const std::size_t block_bytes = static_cast<std::size_t>(spec.block_bytes);
  const std::size_t n_blocks =
      static_cast<std::size_t>(largest_elements / spec.block_elements) + kWindowStep * kMostWindows;
  Field field{.type = type};
  CRIA_ASSIGN_OR_RETURN(field.memory, AlignedBuffer::allocate(n_blocks * block_bytes));
  std::byte* data = field.memory.data();
  Random random;
  const std::size_t n_distinct = std::min(kDistinctBlocks, n_blocks);
  for (std::size_t i = 0; i < n_distinct; ++i) fill_block(spec, random, data + i * block_bytes);
  for (std::size_t i = n_distinct; i < n_blocks; i += n_distinct) {
    std::memcpy(data + i * block_bytes, data, std::min(n_distinct, n_blocks - i) * block_bytes);
  }
  fields_.push_back(std::move(field));
  return {};
}

std::span<const std::byte> RandomCheckpoint::window(StorageType type, std::int64_t n_rows,
                                                    std::int64_t n_cols) {
  Field& field = *std::ranges::find(fields_, type, &Field::type);
  const std::size_t block_bytes = static_cast<std::size_t>(storage_spec(type).block_bytes);
  const std::size_t first = field.n_windows++ % kMostWindows * kWindowStep * block_bytes;
  return field.memory.bytes().subspan(
      first, static_cast<std::size_t>(n_rows) * storage_row_bytes(type, n_cols));
}

}  // namespace cria
