// night_camera: enhances PPM pictures through mirnet-deploy, several at a time.
//
//   night_camera [--model NAME|FILE] [--device auto|cpu|cuda:N] [--threads N] IN.ppm OUT.ppm [IN.ppm OUT.ppm ...]
//
// A camera's frames would take the place of the files; all that matters is in `work` below.

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <thread>

#include "enhancer.hpp"
#include "image.hpp"

namespace {

struct Options {
    std::string model = "lite", device = "auto";
    unsigned threads = 2;
    std::vector<std::pair<std::string, std::string>> files;
};

Options parse(int argc, char** argv) {
    Options options;
    std::vector<std::string> names;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word.rfind("--", 0) != 0) {
            names.push_back(word);
        } else if (i + 1 < argc && word == "--model") {
            options.model = argv[++i];
        } else if (i + 1 < argc && word == "--device") {
            options.device = argv[++i];
        } else if (i + 1 < argc && word == "--threads") {
            options.threads = static_cast<unsigned>(std::max(1, std::atoi(argv[++i])));
        } else {
            throw std::invalid_argument("unknown option, or one without its value: " + word);
        }
    }
    if (names.empty() || names.size() % 2) throw std::invalid_argument("expected pairs of IN.ppm OUT.ppm");
    for (std::size_t i = 0; i < names.size(); i += 2) options.files.emplace_back(names[i], names[i + 1]);
    return options;
}

// Takes the next picture until there is none. What fails is said, and the others are still done.
void work(const Enhancer& enhancer, const Options& options, std::atomic<std::size_t>& next, std::atomic<int>& failed) {
    static std::mutex talking;
    for (std::size_t index; (index = next++) < options.files.size();) {
        const auto& [in, out] = options.files[index];
        std::string said = in + " -> " + out;
        try {
            const Image source = read_ppm(in);
            Image target(source.rows, source.cols);
            enhancer.enhance(source.row(0), source.step, target.row(0), target.step, source.rows, source.cols);
            write_ppm(out, target);
        } catch (const std::exception& error) {
            said = std::string("error: ") + error.what();
            ++failed;
        }
        const std::lock_guard<std::mutex> lock(talking);
        std::cerr << said << std::endl;
    }
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Options options = parse(argc, argv);
        const char* chosen = std::getenv("MIRNET_PYTHON");
        const Python python(chosen ? chosen : MIRNET_PYTHON);
        const Enhancer enhancer(options.model, options.device);
        std::cerr << enhancer.backend() << std::endl;
        std::atomic<std::size_t> next{0};
        std::atomic<int> failed{0};
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < options.threads; ++i)
            threads.emplace_back(work, std::cref(enhancer), std::cref(options), std::ref(next), std::ref(failed));
        for (auto& thread : threads) thread.join();
        return failed ? 1 : 0;
    } catch (const std::invalid_argument& error) {
        std::cerr << "error: " << error.what() << std::endl;
        return 2;
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << std::endl;
        return 1;
    }
}
