// A picture as cv::Mat (CV_8UC3) has it, and PPM files, so that this example needs no OpenCV.
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct Image {
    int rows = 0, cols = 0;
    std::size_t step = 0;  // bytes from row to row, at least 3 * cols
    std::vector<std::uint8_t> bytes;  // BGR

    Image() = default;
    Image(int rows, int cols)
        : rows(rows), cols(cols), step((3 * static_cast<std::size_t>(cols) + 63) / 64 * 64), bytes(rows * step) {}

    std::uint8_t* row(int index) { return bytes.data() + index * step; }
    const std::uint8_t* row(int index) const { return bytes.data() + index * step; }
};

// Reads a binary PPM of 8 bits (RGB). Throws std::runtime_error with one line.
inline Image read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + " cannot be opened");
    std::string magic;
    int cols = 0, rows = 0, white = 0;
    file >> magic >> cols >> rows >> white;
    if (!file || magic != "P6" || cols < 1 || rows < 1 || white != 255 || cols > 65535 || rows > 65535)
        throw std::runtime_error(path + " is no binary PPM of 8 bits");
    file.get();
    Image image(rows, cols);
    for (int y = 0; y < rows; ++y) {
        file.read(reinterpret_cast<char*>(image.row(y)), 3 * cols);
        if (!file) throw std::runtime_error(path + " ends early");
        for (int x = 0; x < cols; ++x) std::swap(image.row(y)[3 * x], image.row(y)[3 * x + 2]);
    }
    return image;
}

// Writes one, under another name first, so that no half of it is ever seen. Throws std::runtime_error.
inline void write_ppm(const std::string& path, const Image& image) {
    const std::string temporary = path + ".part";
    std::ofstream file(temporary, std::ios::binary);
    file << "P6\n" << image.cols << " " << image.rows << "\n255\n";
    std::vector<char> row(3 * static_cast<std::size_t>(image.cols));
    for (int y = 0; y < image.rows; ++y) {
        for (int x = 0; x < image.cols; ++x)
            for (int c = 0; c < 3; ++c) row[3 * x + c] = static_cast<char>(image.row(y)[3 * x + 2 - c]);
        file.write(row.data(), static_cast<std::streamsize>(row.size()));
    }
    file.close();
    if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
        std::remove(temporary.c_str());
        throw std::runtime_error(path + " cannot be written");
    }
}
