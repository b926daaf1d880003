// Writes a Hugging Face folder with random half-float weights, to measure with: shapes of real
// models without their weights. `make_random_checkpoint FOLDER 1b|3b|small`. The same shape gives
// the same bytes.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace {

struct Shape {
  const char* name;
  int n_layers, hidden, ffn, n_heads, n_kv_heads, head_dim, n_vocab, max_context;
};
constexpr Shape kShapes[] = {
    {"1b", 16, 2048, 8192, 32, 8, 64, 128256, 131072},
    {"3b", 28, 3072, 8192, 24, 8, 128, 128256, 131072},
    {"small", 2, 256, 512, 4, 2, 64, 512, 2048},
};

struct TensorPlan {
  std::string name;
  std::int64_t n_rows, n_cols;  // n_rows == 0: a vector
  std::int64_t n_elements() const { return (n_rows == 0 ? 1 : n_rows) * n_cols; }
};

std::vector<TensorPlan> plan_tensors(const Shape& s) {
  std::vector<TensorPlan> plan = {{"model.embed_tokens.weight", s.n_vocab, s.hidden}};
  for (int layer = 0; layer < s.n_layers; ++layer) {
    const std::string in = "model.layers." + std::to_string(layer) + ".";
    plan.push_back({in + "input_layernorm.weight", 0, s.hidden});
    plan.push_back({in + "self_attn.q_proj.weight", s.n_heads * s.head_dim, s.hidden});
    plan.push_back({in + "self_attn.k_proj.weight", s.n_kv_heads * s.head_dim, s.hidden});
    plan.push_back({in + "self_attn.v_proj.weight", s.n_kv_heads * s.head_dim, s.hidden});
    plan.push_back({in + "self_attn.o_proj.weight", s.hidden, s.n_heads * s.head_dim});
    plan.push_back({in + "post_attention_layernorm.weight", 0, s.hidden});
    plan.push_back({in + "mlp.gate_proj.weight", s.ffn, s.hidden});
    plan.push_back({in + "mlp.up_proj.weight", s.ffn, s.hidden});
    plan.push_back({in + "mlp.down_proj.weight", s.hidden, s.ffn});
  }
  plan.push_back({"model.norm.weight", 0, s.hidden});
  return plan;
}

std::string header_json(const std::vector<TensorPlan>& plan) {
  std::string json = "{";
  std::int64_t at = 0;
  for (const TensorPlan& tensor : plan) {
    const std::string shape =
        tensor.n_rows == 0 ? std::to_string(tensor.n_cols)
                           : std::to_string(tensor.n_rows) + "," + std::to_string(tensor.n_cols);
    const std::int64_t end = at + 2 * tensor.n_elements();
    json += (at == 0 ? "\"" : ",\"") + tensor.name + "\":{\"dtype\":\"F16\",\"shape\":[" + shape +
            "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(end) + "]}";
    at = end;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  return json;
}

// Near enough to a normal distribution with deviation 0.02: the sum of four uniform numbers, as
// half-float bits.
class RandomHalves {
 public:
  std::uint16_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    const std::uint64_t bits = state_ ^ (state_ >> 29);
    int sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<int>((bits >> (16 * i)) & 0xffff) - 0x8000;
    return to_half(static_cast<float>(sum) * (0.02f / 37837.0f));
  }

 private:
  // Truncates; enough here, and numbers too small for a normal half become zero.
  static std::uint16_t to_half(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
    const int exponent = static_cast<int>(bits >> 23 & 0xff) - 112;
    if (exponent <= 0) return sign;
    return static_cast<std::uint16_t>(sign | exponent << 10 | (bits >> 13 & 0x3ff));
  }
  std::uint64_t state_ = 20260101;
};

bool write_weights(const std::string& path, const std::vector<TensorPlan>& plan) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  const std::string header = header_json(plan);
  const std::uint64_t header_bytes = header.size();
  bool ok = std::fwrite(&header_bytes, 8, 1, file) == 1 &&
            std::fwrite(header.data(), header.size(), 1, file) == 1;
  RandomHalves random;
  std::vector<std::uint16_t> buffer;
  for (const TensorPlan& tensor : plan) {
    const std::int64_t n_rows = tensor.n_rows == 0 ? 1 : tensor.n_rows;
    buffer.resize(tensor.n_cols);
    for (std::int64_t row = 0; ok && row < n_rows; ++row) {
      for (std::uint16_t& half : buffer)
        half = tensor.n_rows == 0 ? 0x3c00 : random.next();  // gains are 1
      ok = std::fwrite(buffer.data(), 2, buffer.size(), file) == buffer.size();
    }
  }
  return (std::fclose(file) == 0) && ok;
}

bool write_config(const std::string& path, const Shape& s) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return false;
  std::fprintf(
      file,
      "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_act\": "
      "\"silu\",\n"
      " \"num_hidden_layers\": %d, \"hidden_size\": %d, \"intermediate_size\": %d,\n"
      " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d,\n"
      " \"vocab_size\": %d, \"max_position_embeddings\": %d, \"rms_norm_eps\": 1e-05,\n"
      " \"rope_theta\": 500000.0, \"tie_word_embeddings\": true, \"torch_dtype\": \"float16\",\n"
      " \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 32.0, \"low_freq_factor\": 1.0,\n"
      "  \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}}\n",
      s.n_layers, s.hidden, s.ffn, s.n_heads, s.n_kv_heads, s.head_dim, s.n_vocab, s.max_context);
  return std::fclose(file) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Shape* shape = nullptr;
  for (const Shape& known : kShapes) {
    if (argc == 3 && std::strcmp(argv[2], known.name) == 0) shape = &known;
  }
  if (shape == nullptr) {
    std::fprintf(stderr, "usage: make_random_checkpoint FOLDER 1b|3b|small\n");
    return 1;
  }
  const std::string folder = argv[1];
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!write_config(folder + "/config.json", *shape) ||
      !write_weights(folder + "/model.safetensors", plan_tensors(*shape))) {
    std::fprintf(stderr, "cannot write to %s\n", folder.c_str());
    return 1;
  }
  return 0;
}
