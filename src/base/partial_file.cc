#include "base/partial_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

namespace cria {
namespace {

constexpr mode_t kMode = 0666;  // less the user's umask
constexpr int kNameAttempts = 16;
constexpr std::size_t kMaxWriteBytes = std::size_t{1} << 30;  // one write() takes up to 2 GiB
// Pieces of this size, at multiples of it, are what a file is written in. Linux keeps what it
// writes in pages as large as the piece, and a model that is run soon after it was compiled is
// mapped in these: huge pages instead of small ones are 5 to 7 % more tokens a second (1B, q4_0,
// two threads).
constexpr std::size_t kPieceBytes = std::size_t{2} << 20;

Status system_error(const std::string& path, const char* action, int error) {
  if (error == ENOSPC || error == EDQUOT) {
    return out_of_resources("{}: cannot {}: the disk is full", path, action);
  }
  if (error == EFBIG) {
    return out_of_resources("{}: cannot {}: the file is larger than is allowed here", path, action);
  }
  return io_error("{}: cannot {}: {}", path, action, std::strerror(error));
}

// While it lives, a write beyond RLIMIT_FSIZE is an error (EFBIG) and not the end of the process.
// The signal goes to the writing thread, so holding it back there changes nothing elsewhere.
class HoldFileSizeSignal {
 public:
#ifdef __linux__
  HoldFileSizeSignal() {
    sigemptyset(&signal_);
    sigaddset(&signal_, SIGXFSZ);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGXFSZ) == 1;
    pthread_sigmask(SIG_BLOCK, &signal_, &previous_);
  }
  ~HoldFileSizeSignal() {
    const timespec no_wait = {};
    while (!was_pending_ && sigtimedwait(&signal_, nullptr, &no_wait) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  }
  HoldFileSizeSignal(const HoldFileSizeSignal&) = delete;
  HoldFileSizeSignal& operator=(const HoldFileSizeSignal&) = delete;

 private:
  sigset_t signal_;
  sigset_t previous_;
  bool was_pending_ = false;
#else
  HoldFileSizeSignal() {}
#endif
};

std::string random_name(const std::string& path) {
  std::random_device random;
  return fmt::format("{}.{:08x}.partial", path, static_cast<std::uint32_t>(random()));
}

// The file that `path` stands for: links are followed, so that they stay links. Only regular
// files are replaced: taking the place of a device or a folder would do harm.
Result<std::string> resolve(const std::string& path) {
  if (path.empty()) return invalid_argument("the output file's name is empty");
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  if (type == std::filesystem::file_type::not_found) return path;
  if (type != std::filesystem::file_type::regular) {
    return io_error("{}: cannot write: it exists and is no regular file", path);
  }
  const auto resolved = std::filesystem::canonical(path, error);
  return error ? path : resolved.string();
}

}  // namespace

PartialFile::PartialFile(PartialFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_path_(std::exchange(other.temporary_path_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)),
      collected_(std::exchange(other.collected_, {})),
      collected_offset_(other.collected_offset_) {}

PartialFile& PartialFile::operator=(PartialFile&& other) noexcept {
  if (this != &other) {
    discard();
    path_ = std::move(other.path_);
    temporary_path_ = std::exchange(other.temporary_path_, {});
    descriptor_ = std::exchange(other.descriptor_, -1);
    collected_ = std::exchange(other.collected_, {});
    collected_offset_ = other.collected_offset_;
  }
  return *this;
}

PartialFile::~PartialFile() { discard(); }

void PartialFile::discard() {
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
  temporary_path_.clear();
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  collected_ = {};
}

Result<PartialFile> PartialFile::create(const std::string& path, std::uint64_t size_bytes) {
  PartialFile file;
  CRIA_ASSIGN_OR_RETURN(file.path_, resolve(path));
  const std::string folder = std::filesystem::path(file.path_).parent_path().string();
  CRIA_RETURN_IF_ERROR(file.open_temporary(folder.empty() ? "." : folder));
  CRIA_RETURN_IF_ERROR(file.reserve(size_bytes));
  return file;
}

Status PartialFile::open_temporary(const std::string& folder) {
#ifdef O_TMPFILE
  // A name can be given later only through /proc.
  if (::access("/proc/self/fd", X_OK) == 0) {
    descriptor_ = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, kMode);
    if (descriptor_ >= 0) return {};
  }
#endif
  for (int attempt = 0; attempt < kNameAttempts; ++attempt) {
    const std::string name = random_name(path_);
    descriptor_ = ::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, kMode);
    if (descriptor_ >= 0) {
      temporary_path_ = name;
      return {};
    }
    if (errno != EEXIST) break;
  }
  return system_error(path_, "create it", errno);
}

Status PartialFile::reserve(std::uint64_t size_bytes) {
#ifdef __linux__
  if (size_bytes == 0) return {};
  const HoldFileSizeSignal hold;
  if (::fallocate(descriptor_, 0, 0, static_cast<off_t>(size_bytes)) == 0) return {};
  // File systems that cannot reserve find out when they write.
  if (errno != ENOSPC && errno != EDQUOT && errno != EFBIG) return {};
  Status status = system_error(path_, fmt::format("write {} bytes", size_bytes).c_str(), errno);
  discard();
  return status;
#else
  static_cast<void>(size_bytes);
  return {};
#endif
}

Status PartialFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!is_open()) return internal_error("{}: written to after an error", path_);
  if (offset != collected_offset_ + collected_.size()) {
    CRIA_RETURN_IF_ERROR(flush());
    collected_offset_ = offset;
  }
  while (!bytes.empty()) {
    const std::size_t left = kPieceBytes - (collected_offset_ + collected_.size()) % kPieceBytes;
    const std::size_t n = std::min(left, bytes.size());
    collected_.insert(collected_.end(), bytes.begin(),
                      bytes.begin() + static_cast<std::ptrdiff_t>(n));
    bytes = bytes.subspan(n);
    if (n == left) CRIA_RETURN_IF_ERROR(flush());
  }
  return {};
}

Status PartialFile::flush() {
  CRIA_RETURN_IF_ERROR(write_now(collected_offset_, collected_));
  collected_offset_ += collected_.size();
  collected_.clear();
  return {};
}

Status PartialFile::write_now(std::uint64_t offset, std::span<const std::byte> bytes) {
  const HoldFileSizeSignal hold;
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), kMaxWriteBytes),
                 static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      Status status =
          system_error(path_, fmt::format("write {} bytes at {}", bytes.size(), offset).c_str(),
                       written == 0 ? EIO : errno);
      discard();
      return status;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return {};
}

Result<std::string> PartialFile::readable_path() {
  CRIA_RETURN_IF_ERROR(flush());
  if (!temporary_path_.empty()) return temporary_path_;
  return fmt::format("/proc/self/fd/{}", descriptor_);
}

// A file opened without a name gets a temporary one first: only rename() can replace a file.
Status PartialFile::give_name() {
#ifdef O_TMPFILE
  if (!temporary_path_.empty()) return {};
  const std::string descriptor = fmt::format("/proc/self/fd/{}", descriptor_);
  for (int attempt = 0; attempt < kNameAttempts; ++attempt) {
    const std::string name = random_name(path_);
    if (::linkat(AT_FDCWD, descriptor.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      temporary_path_ = name;
      return {};
    }
    if (errno != EEXIST) break;
  }
  return system_error(path_, "give it its name", errno);
#else
  return {};
#endif
}

Status PartialFile::commit() {
  if (!is_open()) return internal_error("{}: completed after an error", path_);
  Status status = flush();
  if (status.ok()) status = give_name();
  // Some file systems report a full disk only here.
  if (status.ok() && ::close(std::exchange(descriptor_, -1)) != 0) {
    status = system_error(path_, "write", errno);
  }
  if (status.ok() && std::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    status = system_error(path_, "replace it", errno);
  }
  if (status.ok()) temporary_path_.clear();
  discard();
  return status;
}

}  // namespace cria
