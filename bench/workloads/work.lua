-- What Lua is embedded for: tables of tables, strings cut and joined, closures, a collector that frees in waves.
--
--   lua work.lua ROUNDS      prints a checksum, the same in every run
local rounds = tonumber(arg[1])
local state = 1

local function chance_below(bound)
    state = (state * 1103515245 + 12345) % 2147483648
    return (state // 65536) % bound
end

local function word_make()
    local letters = {}
    for i = 1, 3 + chance_below(9) do
        letters[i] = string.char(97 + chance_below(26))
    end
    return table.concat(letters)
end

local function tree_make(depth)
    if depth == 0 then
        return { name = word_make() }
    end
    return { left = tree_make(depth - 1), right = tree_make(depth - 1), size = 2 ^ depth }
end

local function tree_walk(tree, visit)
    if tree.name then
        visit(tree.name)
    else
        tree_walk(tree.left, visit)
        tree_walk(tree.right, visit)
    end
end

local function round_run(resident)
    local count, lines = {}, {}
    tree_walk(tree_make(13), function(name)
        local key = name:sub(1, 3)
        count[key] = (count[key] or 0) + 1
        lines[#lines + 1] = name:upper() .. ':' .. count[key]
    end)
    table.sort(lines)
    resident[1 + #resident % 20] = lines
    return #table.concat(lines, '\n')
end

local sum, resident = 0, {}
for _ = 1, rounds do
    sum = sum + round_run(resident)
end
print(sum)
